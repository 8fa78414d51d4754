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
    """The conditions of the prompts from all encoders, by name.

    The null form of a prompt with a `negative` is the condition of that; what a negative doesn't
    say keeps the encoder's own null form.
    """
    conditions: dict[str, Condition] = {}
    for encoder in encoders:
        made: dict[str, Condition] = encoder(prompts)
        if any(prompt.negative is not None for prompt in prompts):
            null = encoder([prompt.negative or Prompt() for prompt in prompts])
            made = {
                name: condition if condition.null is None else condition.with_null(null[name])
                for name, condition in made.items()
            }
        conditions |= made
    return conditions


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
