"""Scales, which many guidances have: how far past the task's own prediction, away from another
one.
"""

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
"""The conditions that Harmony is told in words, which text guidance drops."""
LARGEST = torch.finfo(torch.float32).max  # predictions are guided in float32 at least


def _a_scale(spec: Any, field: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value <= LARGEST:
        raise ValueError(
            f"{field.name} must be a finite number of at least 0, not {value}; 1 is off, 0 gives"
            " the other prediction alone"
        )


def scale(default: float, *, help: str, source: str = "") -> Any:
    """A knob that holds a scale: finite, at least 0, off at 1. Raises ValueError, naming the field,
    for anything else.
    """
    return knob(default, help=help, off=1.0, source=source, converter=float, validator=_a_scale)


def active(guidance: Any, times: StepTimes) -> tuple[str, ...]:
    """The streams that are being made and whose scale, the setting of the stream's name, isn't
    1.
    """
    return tuple(stream for stream in times.generated() if getattr(guidance, stream) != 1)


def lead_away(
    guidance: Any, negatives: Mapping[str, str], preds: Predictions, times: StepTimes
) -> AV[Tensor]:
    """v = v_neg + s (v - v_neg) for each stream of `negatives` (stream -> name of the pass), s the
    setting of the stream's name.

    Exact for s = 0 and s = 1; the other streams are the task's own prediction bit for bit.
    """
    own = preds[CONDITIONAL].only(times.generated())
    return own.replace(
        **{
            s: torch.lerp(preds[name][s], own[s], getattr(guidance, s))
            for s, name in negatives.items()
        }
    )
