"""Properties of a guidance in sums and windows."""

from __future__ import annotations

import attrs

from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import CONDITIONAL, Guidance, StepTimes, conditional
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
    levels = [times[s] or 0.0 for times in walk.times for s in times.generated()]
    first, last = max(levels), min(levels)
    around = Window(guidance, 0, first)
    beyond = Window(guidance, first, 1) if first < 1 else Window(guidance, 0, last / 2)
    inactive = all(
        step.passes == [conditional(step.times)] and same(step.result, conditional_of(step))
        for step in steps(beyond, walk)
    )
    unchanged = all_steps(same, results(around, walk), results(guidance, walk))
    return inactive and unchanged and all(_one_inside(guidance, walk, t) for t in walk.times)


def _one_inside(guidance: Guidance, walk: Walk, times: StepTimes) -> bool:
    """A window around one of two unequal times, at a first step, guides only that stream."""
    levels = {times[s] or 0.0 for s in times.generated()}
    if len(levels) < 2:
        return True
    walk, middle = attrs.evolve(walk, times=(times,)), sum(levels) / 2
    plain = next(steps(guidance, walk))
    for window in (Window(guidance, 0, middle), Window(guidance, middle, 1)):
        step = next(steps(window, walk))
        inside = [s for s in step.result if window.low < (times[s] or 0.0) <= window.high]
        needed = {need for each in step.passes for need in each.needs} | {CONDITIONAL}
        if any(set(each.read) - set(inside) for each in step.passes if each.name not in needed):
            return False
        want = conditional_of(step).replace(**{s: plain.result[s] for s in inside})
        if not same(step.result, want):
            return False
    return True


PROPERTIES = (
    Property(
        "beside-off",
        "be unchanged bit for bit in a sum with SyncCFG at its off values",
        _beside_off,
    ),
    Property("commute", "give the same sum in any order of the terms", _commute),
    Property(
        "window",
        "be unchanged bit for bit inside a window, and inactive outside, each stream by its own"
        " time",
        _window,
    ),
)
