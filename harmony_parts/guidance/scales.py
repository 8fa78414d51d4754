"""Guidance scales per stream, and extrapolation by them from a negative prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import CONDITIONAL, Predictions, StepTimes
from harmony_parts.plugin import knob

TEXT = ("caption", "sound", "speech")
"""The text conditions of Harmony, which text guidance drops."""
LARGEST = torch.finfo(torch.float32).max  # guidance computes in at least float32


def _a_scale(spec: Any, field: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value <= LARGEST:
        raise ValueError(
            f"{field.name} must be a finite number of at least 0, not {value}; 1 is off, 0 gives"
            " the negative prediction"
        )


def scale(default: float, *, help: str, source: str = "") -> Any:
    """A setting for a scale: finite, at least 0, off at 1. Other values raise ValueError."""
    return knob(default, help=help, off=1.0, source=source, converter=float, validator=_a_scale)


def guided_streams(guidance: Any, times: StepTimes) -> tuple[str, ...]:
    """The generated streams whose scale, the field with the stream's name, isn't 1."""
    return tuple(stream for stream in times.generated() if getattr(guidance, stream) != 1)


def extrapolate(
    guidance: Any, negatives: Mapping[str, str], preds: Predictions, times: StepTimes
) -> AV[Tensor]:
    """v = v_neg + s (v - v_neg) for each stream of `negatives`, a map of streams to pass names.

    s is the guidance's field with the stream's name. Exact for s = 0 and s = 1; for other streams
    the conditional prediction is returned bit for bit.
    """
    own = preds[CONDITIONAL].only(times.generated())
    return own.replace(
        **{
            s: torch.lerp(preds[name][s], own[s], getattr(guidance, s))
            for s, name in negatives.items()
        }
    )
