"""The sequence of MiniMax-H3: text, then the sound's two sides, then video, with positions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from harmony_minimax_h3.audio import SIDES
from harmony_parts.av import AV, Times

PER_SECOND = 40
"""Positions in time of one second, of either stream."""


@lru_cache(maxsize=8)  # the same in every step; a text and its null form for some clips
def layout(
    text: int,
    shape: tuple[int, int, int],
    sounds: int,
    patch: tuple[int, int, int],
    device: torch.device,
) -> dict[str, Tensor]:
    """The transformer's arguments for what stands where, as in diffusers' pipeline.

    For a text of that many tokens, video latents (T, h, w) and latents of sound. Positions are
    rounded to float32, as the transformer rounds them.
    """
    from diffusers.modular_pipelines.minimax_h3 import modular_pipeline as tags
    from diffusers.modular_pipelines.minimax_h3.before_denoise import MiniMaxH3PrepareLayoutStep

    with torch.device("cpu"):  # float64, which not every device has
        places = MiniMaxH3PrepareLayoutStep.build_packed_sequence(
            torch.full((text,), tags.MINIMAX_H3_TEXT_TAG),
            *shape,
            sounds,
            patch,
            SIDES,
            tags.MINIMAX_H3_AUDIO_TAG,
            tags.MINIMAX_H3_VIDEO_TAG,
        )
    positions, *indices = places[:5]
    made = {"position_ids": positions.float().to(device)}
    names = ("token_tags", "video_indices", "audio_indices", "text_indices")
    return made | {name: each.to(device) for name, each in zip(names, indices, strict=True)}


def row_times(times: AV[Times], n: int, rows: int, text: int) -> dict[str, Tensor]:
    """The transformer's arguments for the times of sample n, `rows` rows for a latent of video.

    Its timestep is 1 - t: 1 is data. A text has the highest time of the video, as in diffusers.
    """
    video, audio = times["video"], times["audio"]
    noisiest = video.per_latent()[n].argmax(0, keepdim=True)
    of_text = video.index[n].gather(0, noisiest)
    first = len(video.values[n])
    return {
        "timestep": 1 - torch.cat([video.values[n], audio.values[n]]).float(),
        "timestep_indices": torch.cat(
            [
                of_text.expand(text),
                (first + audio.index[n]).repeat(SIDES),
                video.index[n].repeat_interleave(rows),
            ]
        ),
    }


def packed(av: AV[Tensor], patch: tuple[int, int, int]) -> dict[str, Tensor]:
    """Latents [T, h, w, C] and [T, C] as the rows of the sequence, [1, rows, width] each."""
    t, h, w = patch
    video = rearrange(av["video"], "(t p) (h q) (w r) c -> 1 (t h w) (c p q r)", p=t, q=h, r=w)
    audio = rearrange(av["audio"], "t (s c) -> 1 (s t) c", s=SIDES)
    return {"hidden_states": video, "audio_hidden_states": audio}


def unpacked(
    video: Tensor, audio: Tensor, like: AV[Any], patch: tuple[int, int, int]
) -> AV[Tensor]:
    """Rows [1, rows, width] as latents of the shape of `like`."""
    (t, h, w), (frames, high, wide) = patch, like["video"].shape[:3]
    return AV(
        rearrange(
            video[0],
            "(t h w) (c p q r) -> (t p) (h q) (w r) c",
            t=frames // t,
            h=high // h,
            w=wide // w,
            p=t,
            q=h,
            r=w,
        ),
        rearrange(audio[0], "(s t) c -> t (s c)", s=SIDES),
    )
