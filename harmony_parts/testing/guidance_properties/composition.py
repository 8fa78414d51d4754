"""Properties of a guidance in sums and windows."""

from __future__ import annotations

from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import Guidance, conditional
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window
from harmony_parts.testing.guidance_properties.property import (
    Property,
    all_steps,
    conditional_of,
    near,
    same,
)
from harmony_parts.testing.guidance_walks import Walk, results, steps


def _beside_off(guidance: Guidance, walk: Walk) -> bool:
    summed = Sum((guidance, SyncCFG(1, 1)))
    return all_steps(same, results(summed, walk), results(guidance, walk))


def _commute(guidance: Guidance, walk: Walk) -> bool:
    other = CFG(2.5, 1.5, drop=("caption",))
    return all_steps(
        near, results(Sum((guidance, other)), walk), results(Sum((other, guidance)), walk)
    )


def _window(guidance: Guidance, walk: Walk) -> bool:
    first, last = walk.times[0].highest(), walk.times[-1].highest()
    around = Window(guidance, 0, first)
    beyond = Window(guidance, first, 1) if first < 1 else Window(guidance, 0, last / 2)
    inactive = all(
        step.passes == [conditional(step.times)] and same(step.result, conditional_of(step))
        for step in steps(beyond, walk)
    )
    return inactive and all_steps(same, results(around, walk), results(guidance, walk))


PROPERTIES = (
    Property(
        "beside-off",
        "be unchanged bit for bit in a sum with SyncCFG at its off values",
        _beside_off,
    ),
    Property("commute", "give the same sum in any order of the terms", _commute),
    Property(
        "window",
        "be unchanged bit for bit inside a window, and inactive outside, for any predictions",
        _window,
    ),
)
