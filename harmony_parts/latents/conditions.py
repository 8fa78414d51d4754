"""Conditions of prompts, and of several batches as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from harmony_parts.av import Condition, Prompt


def is_frozen(encoder: nn.Module) -> bool:
    """Whether the encoder has no trainable weights, so its conditions can be cached."""
    return not any(parameter.requires_grad for parameter in encoder.parameters())


def conditions_of(encoders: Iterable[nn.Module], prompts: Sequence[Prompt]) -> dict[str, Condition]:
    """The conditions of the prompts from all encoders, by name."""
    return {name: condition for encoder in encoders for name, condition in encoder(prompts).items()}


def concatenate(chunks: Sequence[Condition]) -> Condition:
    """The conditions of several batches as one, padded to the longest; padding is masked out."""
    longest = max(chunk.mask.shape[1] for chunk in chunks)

    def padded(x: Tensor) -> Tensor:
        return pad(x, (*(0, 0) * (x.ndim - 2), 0, longest - x.shape[1]))

    nulls = [chunk.null for chunk in chunks if chunk.null is not None]
    return Condition(
        torch.cat([padded(chunk.tokens) for chunk in chunks]),
        torch.cat([padded(chunk.mask) for chunk in chunks]),
        concatenate(nulls) if nulls else None,
    )
