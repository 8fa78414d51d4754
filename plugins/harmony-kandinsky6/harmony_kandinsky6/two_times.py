"""What diffusers' Kandinsky 6 lacks: a time for each stream."""

from __future__ import annotations

from typing import Any

from torch import nn


def take_two_times(model: Any) -> None:
    """Let `model` take `timestep` [2, B], the video's and the audio's, beside diffusers' [B].

    The model passes its timestep to nothing but the two streams' embeddings; each takes its row.
    """
    for row, stream in enumerate(("video", "audio")):

        def own(module: nn.Module, args: tuple[Any, ...], row: int = row) -> tuple[Any, ...]:
            (timestep,) = args
            return (timestep[row] if timestep.ndim == 2 else timestep,)

        getattr(model, f"{stream}_time_embeddings").register_forward_pre_hook(own)
