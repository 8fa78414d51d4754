"""What a GPU does of a clip whose video it shares with others, counted as the denoiser runs."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.assembly.build import Parts
from harmony_parts.cost.count import TrainingPass, count_training, prepared_inputs
from harmony_parts.layers.sequence import WHOLE, SharesVideo, VideoShare


@attrs.define(eq=False)
class Messages:
    """Counts the bytes that a process sends to others, forward and backward."""

    sent: int = 0

    def all_to_all(self, rows: Tensor) -> Tensor:
        """Rows of the same shapes; all but the own one are sent."""
        self.sent += rows.nbytes * (len(rows) - 1) // len(rows)
        return torch.empty_like(rows)


class Exchange(torch.autograd.Function):
    """All-to-all by `messages`, in both directions."""

    @staticmethod
    def forward(context: Any, rows: Tensor, messages: Messages) -> Tensor:
        """Count them."""
        context.messages = messages
        return messages.all_to_all(rows)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        """Count their gradients."""
        return context.messages.all_to_all(gradients[0]), None


def count_shared(parts: Parts, size: int, recompute: str) -> TrainingPass | str:
    """Forward and backward of one of `size` processes that share a clip; a string is why not."""
    denoiser: Any = parts.denoiser
    if not isinstance(denoiser, SharesVideo):
        return f"{type(denoiser).__name__} can't compute a part of the tokens"
    messages = Messages()
    try:
        denoiser.share_video(VideoShare(0, size, lambda rows: Exchange.apply(rows, messages)))
        given = prepared_inputs(parts)
        return count_training(denoiser, given, recompute, sent=lambda: messages.sent)
    except ValueError as error:
        return str(error)
    finally:
        denoiser.share_video(WHOLE)
