"""What diffusers' Kandinsky 6 lacks: a time for each stream, and streams without exchange."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CROSS = ("va_cross_attention", "av_cross_attention")  # video from audio, audio from video


def take_two_times(model: Any) -> None:
    """Let `model` take `timestep` [2, B], the video's and the audio's, beside diffusers' [B].

    The model passes its timestep to nothing but the two streams' embeddings; each takes its row.
    """
    for row, stream in enumerate(("video", "audio")):

        def own(module: nn.Module, args: tuple[Any, ...], row: int = row) -> tuple[Any, ...]:
            (timestep,) = args
            return (timestep[row] if timestep.ndim == 2 else timestep,)

        getattr(model, f"{stream}_time_embeddings").register_forward_pre_hook(own)


@contextmanager
def isolated(model: Any, on: bool) -> Iterator[None]:
    """While `on`, what a stream reads from the other one is 0, which adds nothing to it."""
    with ExitStack() as stack:
        for block in model.visual_transformer_blocks if on else ():
            for name in CROSS:
                stack.callback(getattr(block, name).register_forward_hook(_nothing).remove)
        yield


def _nothing(module: nn.Module, args: tuple[Any, ...], made: Tensor) -> Tensor:
    return torch.zeros_like(made)
