"""The sequence of Cosmos3-Omni: text, video and sound, with their positions and noisy latents."""

from __future__ import annotations

import math
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV

FRAMES = 4  # frames of a latent of video, for its positions


@attrs.frozen(eq=False)
class Segment:
    """The tokens of one stream: `shape` (T, h, w), from `start` on in the sequence.

    `noisy` [N] are the latents that have a time.
    """

    shape: tuple[int, int, int]
    start: int
    noisy: Tensor

    def arguments(self, name: str, timesteps: Tensor) -> dict[str, Any]:
        """The transformer's arguments for the stream, with a timestep for each latent [T]."""
        t, h, w = self.shape
        every = torch.arange(t * h * w, device=self.noisy.device)
        read = every.unflatten(0, (t, h * w))[self.noisy].flatten()
        return {
            f"{name}_token_shapes": [self.shape],
            f"{name}_sequence_indexes": self.start + every,
            f"{name}_mse_loss_indexes": self.start + read,
            f"{name}_timesteps": timesteps[self.noisy].repeat_interleave(h * w),
            f"{name}_noisy_frame_indexes": [self.noisy],
        }


@attrs.frozen(eq=False)
class Packed:
    """The sequence: positions [3, length] in time, height and width, and both streams' segments."""

    positions: Tensor
    video: Segment
    audio: Segment


def packed(config: Any, av: AV[Tensor], times: AV[Tensor], text: int, rates: AV[float]) -> Packed:
    """The sequence of one sample: a text of that many tokens, latents [T, h, w, C] and [T, C].

    `times` [T] of each stream; `rates`: latents per second.
    """
    from diffusers.pipelines.cosmos import pipeline_cosmos3_omni as theirs

    frames, height, width, _ = av["video"].shape
    patch, device = config.latent_patch_size, av["video"].device
    shape = (frames, math.ceil(height / patch), math.ceil(width / patch))
    line = (len(av["audio"]), 1, 1)
    with torch.device("cpu"):  # their functions read values, which the meta device has none of
        words, after = theirs.get_3d_mrope_ids_text_tokens(
            text, 0, use_float_positions=config.enable_fps_modulation
        )
        begin = after + config.unified_3d_mrope_temporal_modality_margin  # of both streams
        parts = [words]
        for each, rate, step in ((shape, rates["video"], FRAMES), (line, rates["audio"], 1)):
            positions, _ = theirs.get_3d_mrope_ids_vae_tokens(
                *each,
                begin,
                reset_spatial_indices=config.unified_3d_mrope_reset_spatial_ids,
                fps=rate * step if config.enable_fps_modulation else None,
                base_fps=float(config.base_fps),
                temporal_compression_factor=step,
            )
            parts.append(positions)
    return Packed(
        torch.cat(parts, dim=1).to(device),
        Segment(shape, text, _noisy(times["video"])),
        Segment(line, text + math.prod(shape), _noisy(times["audio"])),
    )


def _noisy(times: Tensor) -> Tensor:
    """The latents of a time above 0; on the meta device, all."""
    if times.is_meta:
        return torch.arange(len(times), device=times.device)
    return times.nonzero()[:, 0]
