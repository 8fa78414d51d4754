"""Properties of the two streams: they are independent, and symmetric in their settings."""

from __future__ import annotations

from typing import Any

import attrs

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import LATENTS, Guidance, Pass, StepTimes
from harmony_parts.testing.guidance_properties.inner import map_inner, scales
from harmony_parts.testing.guidance_properties.property import Property, all_steps, same
from harmony_parts.testing.guidance_walks import OTHER, Change, Walk, checked, key, results


def _streams(guidance: Guidance, walk: Walk) -> bool:
    before = results(guidance, walk)
    return all(
        all_steps(same, [v.only((stream,)) for v in after], [v.only((stream,)) for v in before])
        for stream in ("video", "audio")
        for after in (
            results(guidance, walk, _changed(OTHER[stream])),
            results(_rescaled(guidance, OTHER[stream]), walk),
        )
    )


def _rescaled(guidance: Any, stream: str) -> Any:
    """The guidance, and those inside it, with another scale of that stream."""
    change = {stream: getattr(guidance, stream) + 0.7} if stream in scales(guidance) else {}
    return map_inner(attrs.evolve(guidance, **change), lambda inner: _rescaled(inner, stream))


def _changed(changed: str) -> Change:
    return lambda name, stream, v: v.sin() + 2 if stream == changed else v


def _swap(guidance: Guidance, walk: Walk) -> bool:
    other, state, swapped_state = swapped(guidance), None, None
    for number, times in enumerate(walk.times):
        turned = StepTimes(times.audio, times.video)
        passes, swapped_passes = (
            checked(guidance, times, state),
            checked(other, turned, swapped_state),
        )
        if sorted(map(_shape, passes)) != sorted(
            _shape(each, swap=True) for each in swapped_passes
        ):
            return False
        preds = walk.predictions(number, passes, anchors=False)
        result, state = guidance.combine(preds, times, state)
        swapped_result, swapped_state = other.combine(
            _swapped_predictions(walk, number, turned, swapped_passes), turned, swapped_state
        )
        if not same(AV(swapped_result.audio, swapped_result.video), result):
            return False
    return True


def _swapped_predictions(
    walk: Walk, number: int, turned: StepTimes, passes: list[Pass]
) -> dict[str, AV[Any]]:
    """The predictions of a step, with the streams exchanged."""
    latents = {s: walk.values(number, LATENTS, OTHER[s]) for s in turned.present()}
    return {LATENTS: AV(**latents)} | {
        each.name: AV(
            **{s: walk.values(number, key(each, False, swap=True), OTHER[s]) for s in each.read}
        )
        for each in passes
    }


def _shape(request: Pass, swap: bool = False) -> str:
    """What a pass requests, without the values of anchors."""
    read = sorted(OTHER[s] if swap else s for s in request.read)
    return repr((key(request, False, swap), read))


def swapped(guidance: Any) -> Any:
    """The guidance, and those inside it, with the settings `video` and `audio` exchanged."""
    if {field.name for field in attrs.fields(type(guidance))} >= {"video", "audio"}:
        guidance = attrs.evolve(guidance, video=guidance.audio, audio=guidance.video)
    return map_inner(guidance, swapped)


PROPERTIES = (
    Property(
        "streams",
        "not let predictions or the scale of one stream affect the other stream's result",
        _streams,
    ),
    Property(
        "swap", "treat both streams equally, with their settings and predictions exchanged", _swap
    ),
)
