"""Sampling times from a list, as distilled models have them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.plugin import knob


@attrs.frozen
class ListedTimes:
    """A run of as many steps as there are times begins each step at one of them.

    Between them t' is linear, so that other numbers of steps, and runs that start from a draft at
    one of the times, are along the same curve: t'(1 - k / n) is the k-th of n times, and t'(0) = 0.
    """

    times: tuple[float, ...] = knob(
        (1.0,),
        help="the times at which the steps begin, from 1 (noise) towards 0 (data), which isn't one",
        off=(1.0,),
        source="diffusers, LTX-2: DISTILLED_SIGMA_VALUES",
        converter=lambda times: tuple(float(time) for time in times),
    )

    @times.validator
    def _falls(self, _: Any, times: tuple[float, ...]) -> None:
        ends = (*times, 0.0)
        if ends[0] != 1 or any(not later < now for now, later in pairwise(ends)):
            raise ValueError(f"times begin at 1 and fall towards 0, which isn't one; not {times}")

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the shape of `t`."""
        ends = torch.tensor((0.0, *reversed(self.times)), dtype=t.dtype, device=t.device)
        place = t * len(self.times)
        low = place.floor().clamp(0, len(self.times) - 1)
        index = low.long()
        return torch.lerp(ends[index], ends[index + 1], place - low)
