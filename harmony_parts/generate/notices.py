"""Warnings of requests that a model fulfils, but not as was meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.assembly.build import Parts
from harmony_parts.av import Condition, Prompt
from harmony_parts.errors import warn_caller
from harmony_parts.guidance.demands import demands, unknown_drops
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.models.known import FIELDS, Texts

Conditions = Callable[[Sequence[Prompt]], Mapping[str, Condition]]
CALLED = {"caption": "prompt"}  # what `generate` calls a field of a prompt


def warn_of_idle(guidance: Guidance, prompts: Sequence[Prompt], parts: Parts) -> None:
    """Warn of what has no effect: a guidance by the other stream without one, drops, negatives."""
    produced = {name for encoder in parts.encoders.values() for name in encoder.produces}
    streams, name = tuple(parts.codecs), type(guidance).__name__
    for fault in unknown_drops(guidance, produced):
        warn_caller(f"{name} {fault}")
    if len(streams) < 2 and demands(guidance, streams).most < 2 <= demands(guidance).most:
        warn_caller(
            f"{name} guides one stream by the other, so it has no effect on a model that generates"
            f" only {streams[0]}"
        )
    dropped = {name for each in demands(guidance, streams).passes for name in each.drop}
    if any(prompt.negative is not None for prompt in prompts) and not dropped & produced:
        remedy = "name them in its `drop`, or take CFG" if hasattr(guidance, "drop") else "CFG does"
        warn_caller(
            f"{name} drops none of the model's conditions, so the negative has no effect: {remedy}"
        )


def warn_of_unread(prompt: Prompt, conditions: Conditions, read: set[str]) -> None:
    """Warn of fields without any effect: alone, they give the conditions of an empty prompt.

    `read` holds the fields that an encoder is known to read; those found now are added.
    """
    filled: dict[str, Any] = {
        field.name: value
        for field in attrs.fields(Prompt)
        if isinstance(value := getattr(prompt, field.name), Tensor) or value
    }
    negative: Prompt | None = filled.pop("negative", None)
    unread = _unread(filled, conditions, read)
    if negative is not None:
        texts = {name: x for name in ("caption", "sound") if (x := getattr(negative, name))}
        unread += [f"negative {name}" for name in _unread(texts, conditions, read)]
    if unread:
        called = {**CALLED, "negative caption": "negative"}
        names = (called.get(name, name.replace(" ", "_")) for name in unread)
        warn_caller(f"this model has no encoder that reads {' or '.join(names)}")


def warn_of_unknown(prompt: Prompt, known: Mapping[str, Texts]) -> None:
    """Warn of texts with words that the model never saw, and name those nearest that it knows."""
    for name in FIELDS:
        text, texts = getattr(prompt, name), known.get(name)
        if text and texts and (words := texts.unknown(text)):
            near = "; ".join(repr(" ".join(each.split())) for each in texts.nearest(text))
            warn_caller(
                f"the {CALLED.get(name, name)} has words that this model doesn't know:"
                f" {', '.join(words)}. The nearest that it knows: {near}"
            )


def _unread(filled: Mapping[str, Any], conditions: Conditions, read: set[str]) -> list[str]:
    """The fields that change no condition."""
    unknown = [name for name in filled if name not in read]
    if unknown:
        prompts = [Prompt(), *(Prompt(**{name: filled[name]}) for name in unknown)]
        tensors = [x for c in conditions(prompts).values() for x in (c.mask, c.tokens)]
        for row, name in enumerate(unknown, start=1):
            if any(not torch.equal(x[row], x[0]) for x in tensors):
                read.add(name)
    return [name for name in unknown if name not in read]
