"""What the sampling of a batch starts from: noise from seeds, and given latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harmony_parts.av import AV, Prompt
from harmony_parts.generate.fields import check_fields


def check_batch(prompts: Sequence[Prompt], seeds: Sequence[int], frames: int) -> None:
    """Check that a batch has frames, and one prompt and one seed per clip. Raises ValueError."""
    if frames < 1:
        raise ValueError(f"frames must be at least 1, not {frames}")
    if not prompts or len(prompts) != len(seeds):
        raise ValueError(
            "each clip takes one prompt and one seed, and there are"
            f" {len(prompts)} prompts and {len(seeds)} seeds"
        )
    for seed in seeds:
        check_fields(seed=seed)


def check_given(given: AV[Tensor], shapes: AV[tuple[int, ...]], frames: int) -> None:
    """Check that given latents have `shapes` [B, T, ...], those of clips of `frames` frames.

    Raises ValueError, with both shapes.
    """
    for stream in given:
        if tuple(given[stream].shape) != shapes[stream]:
            raise ValueError(
                f"the given {stream} is {list(given[stream].shape)}; {shapes[stream][0]} clips of"
                f" {frames} frames take {list(shapes[stream])}"
            )


def seeded_noise(
    shapes: AV[tuple[int, ...]], seeds: Sequence[int], device: torch.device
) -> AV[Tensor]:
    """Noise [B, T, ...] of shape `shapes`, each clip's from its own seed, video before audio.

    It is drawn on the CPU, so that a seed gives the same noise on every device.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return shapes.map(
        lambda shape: torch.stack([torch.randn(shape[1:], generator=g) for g in generators]).to(
            device
        )
    )
