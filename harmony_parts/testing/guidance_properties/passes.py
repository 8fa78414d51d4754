"""Properties of the passes that a guidance requests."""

from __future__ import annotations

from typing import Any

from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    LATENTS,
    Guidance,
    Pass,
    StepTimes,
    conditional,
)
from harmony_parts.testing.guidance_properties.property import Property, near, same
from harmony_parts.testing.guidance_walks import Walk, WalkStep, checked, steps


def _used(guidance: Guidance, walk: Walk) -> bool:
    state: Any = None
    for number, step in enumerate(list(steps(guidance, walk))):
        needed = {need for each in step.passes for need in each.needs} | {CONDITIONAL}
        for each in step.passes:
            if each.name not in needed and not _affects(guidance, walk, number, step, state, each):
                return False
        state = step.state
    return True


def _affects(
    guidance: Guidance, walk: Walk, number: int, step: WalkStep, state: Any, request: Pass
) -> bool:
    """Whether the result depends on the prediction of each stream of a pass."""
    v = step.preds[request.name]
    for stream in v:
        changed = v.replace(**{stream: v[stream] + walk.values(number, "change", stream)})
        preds = step.preds | {request.name: changed}
        if same(guidance.combine(preds, step.times, state)[0], step.result):
            return False
    return True


def _anchor(guidance: Guidance, walk: Walk) -> bool:
    state: Any = None
    for number, times in enumerate(walk.times):
        passes = checked(guidance, times, state)
        others = [each for each in passes if each != conditional(times)]
        if not others or not all(_replaces_given(each, times) for each in others):
            return True  # no anchor, or other terms that change the result
        own = walk.predictions(number, passes)
        preds = {
            name: own[CONDITIONAL].only(tuple(v)) if name != LATENTS else v
            for name, v in own.items()
        }
        result, state = guidance.combine(preds, times, state)
        if not near(result, own[CONDITIONAL].only(times.generated())):
            return False
    return True


def _replaces_given(request: Pass, times: StepTimes) -> bool:
    """Whether a pass differs from the conditional one only by anchors for given streams."""
    return (
        bool(request.replace)
        and not request.drop
        and not request.hints
        and not request.model
        and not request.words
        and all(times[stream] == 0 for stream, _ in request.replace)
    )


PROPERTIES = (
    Property(
        "used",
        "use every requested pass, except for the conditional one and those that others need",
        _used,
    ),
    Property("anchor", "change nothing if an anchor equals the given stream", _anchor),
)
