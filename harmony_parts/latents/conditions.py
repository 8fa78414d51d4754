"""Conditions of prompts, and of several batches as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from harmony_parts.av import Condition, Prompt
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import PartContractError


def is_frozen(encoder: nn.Module) -> bool:
    """Whether the encoder has no trainable weights, so its conditions can be cached."""
    return not any(parameter.requires_grad for parameter in encoder.parameters())


def conditions_of(encoders: Iterable[nn.Module], prompts: Sequence[Prompt]) -> dict[str, Condition]:
    """The conditions of the prompts from all encoders, by name.

    The null form of a prompt with a `negative` is the condition of that; what a negative doesn't
    say keeps the encoder's own null form. Raises PartContractError if an encoder gives something
    else than a condition for each name that it produces.
    """
    conditions: dict[str, Condition] = {}
    for encoder in encoders:
        made = _made(encoder, prompts)
        if any(prompt.negative is not None for prompt in prompts):
            null = encoder([prompt.negative or Prompt() for prompt in prompts])
            made = {
                name: condition if condition.null is None else condition.with_null(null[name])
                for name, condition in made.items()
            }
        conditions |= made
    return conditions


def _made(encoder: nn.Module, prompts: Sequence[Prompt]) -> dict[str, Condition]:
    """What an encoder gives for the prompts, which is checked to be conditions."""
    made: Any = encoder(prompts)
    widths = cast(Encoder, encoder).produces
    if not isinstance(made, Mapping):
        found = f"a {type(made).__name__}"
    elif wrong := [name for name, x in made.items() if not isinstance(x, Condition)]:
        found = f"a {type(made[wrong[0]]).__name__} as {wrong[0]!r}"
    elif (given := {name: x.tokens.shape[-1] for name, x in made.items()}) != dict(widths):
        found = f"tokens with the widths {given}"
    else:
        return dict(made)
    raise PartContractError(
        f"{type(encoder).__name__} gives {found}; it must give {{name: Condition(tokens, mask,"
        f" null)}} with the names and widths of its `produces`, {dict(widths)}"
    )


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
