"""Another guidance for only some of the generated streams: those that a wrapper is active for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    Guidance,
    Pass,
    Predictions,
    StepTimes,
    conditional,
)


def passes_for(
    active: Collection[str], inner: Guidance, times: StepTimes, state: Any
) -> Sequence[Pass]:
    """The passes of `inner` that the streams in `active` need, reading only those streams.

    The conditional pass is always among them, unchanged. A pass from which no active stream is read
    is left out, unless another one needs it.
    """
    if not active:
        return [conditional(times)]
    passes = inner.passes(times, state)
    if set(active) >= set(times.generated()):
        return passes
    own = conditional(times)
    read = {
        each.name: each.read if each == own else [s for s in _predicted(each) if s in active]
        for each in passes
    }
    kept = {name for name, streams in read.items() if streams}
    while more := {n for each in passes if each.name in kept for n in each.needs} - kept:
        kept |= more
    return [
        attrs.evolve(each, read=read[each.name] or each.read)
        for each in passes
        if each.name in kept
    ]


def combine_for(
    active: Collection[str], inner: Guidance, preds: Predictions, times: StepTimes, state: Any
) -> tuple[AV[Any], Any]:
    """The result of `inner` for the streams in `active`, the conditional prediction for others.

    The latter is returned bit for bit. `inner` gets it in place of every prediction that
    `passes_for` left out, so its state sees no difference in an inactive stream; if no stream is
    active, its state is unchanged.
    """
    own = preds[CONDITIONAL].only(times.generated())
    if not active:
        return own, state
    inactive = [stream for stream in own if stream not in active]
    if inactive:
        preds = dict(preds)
        for each in inner.passes(times, state):
            found = preds.get(each.name, AV())
            missing = [s for s in _predicted(each) if s not in tuple(found)]
            preds[each.name] = found.replace(**{s: own[s] for s in missing})
    guided, state = inner.combine(preds, times, state)
    return guided.replace(**{stream: own[stream] for stream in inactive}), state


def _predicted(request: Pass) -> list[str]:
    """The streams that a pass reads and can predict: generated, and not replaced by an anchor."""
    replaced = dict(request.replace)
    return [s for s in request.read if s in request.times.generated() and s not in replaced]
