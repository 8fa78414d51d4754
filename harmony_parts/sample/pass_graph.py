"""The passes of one velocity as a graph: checked, with equal passes merged, in order of needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import attrs

from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Denoiser
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.protocol import (
    LATENTS,
    Guidance,
    Pass,
    StepTimes,
    requested_passes,
    unsupported_hints,
)


@attrs.frozen
class DenoiserRun:
    """One run of the denoiser for all passes of `names`, which are equal to `request`.

    `read`: the streams that any of them reads. `level` 0 needs no other run; level n needs one of
    level n - 1. Runs of the same level can be batched.
    """

    names: tuple[str, ...]
    request: Pass
    read: tuple[str, ...]
    level: int = 0


def noisy(request: Pass) -> tuple[str, ...]:
    """The streams of a pass at times above 0: only these have a velocity."""
    replaced = dict(request.replace)
    return tuple(stream for stream in request.times.generated() if stream not in replaced)


Supported = tuple[Collection[str], Collection[str] | None]
"""The hints that a model's denoiser supports, and its conditions that can be dropped."""


def checked_passes(
    guidance: Guidance,
    times: StepTimes,
    state: Any,
    *,
    hints: Collection[str],
    droppable: Collection[str] | None = None,
    other: Callable[[Pass], Supported] | None = None,
) -> list[Pass]:
    """The guidance's passes at a step. Raises PartContractError if one of them can't be run.

    `hints`: those that the denoiser supports. `droppable`: the conditions that can be dropped;
    other names are removed from `drop`. `None` keeps all names. `other` gives both for the models
    that passes name; without it they aren't checked.
    """

    def supported(each: Pass) -> Supported:
        if not each.model:
            return hints, droppable
        return other(each) if other is not None else (each.hints, None)

    def fault(what: str) -> PartContractError:
        return PartContractError(f"the guidance {guidance!r} {what}")

    passes = requested_passes(guidance, times, state)
    if not passes:
        raise fault(
            f"requested no passes at {times}; if it is inactive, return [conditional(times)]"
        )
    names = [each.name for each in passes]
    for each in passes:
        if what := _fault(each, names, times, supported(each)[0]):
            raise fault(f"requested the pass {each.name!r}{what}")
    kept = [supported(each)[1] for each in passes]
    return [
        each if names is None else attrs.evolve(each, drop=each.drop & set(names))
        for each, names in zip(passes, kept, strict=True)
    ]


def _fault(request: Pass, names: list[str], times: StepTimes, hints: Collection[str]) -> str:
    """Why a pass can't be run; "" if it can."""
    present = set(request.times.present())
    if names.count(request.name) > 1:
        return " twice; the names of passes must be unique"
    if request.name == LATENTS:
        return ", a name that is reserved for the current latents among the predictions"
    if unknown := set(request.needs) - set(names):
        return f", which needs {', '.join(sorted(unknown))}; its passes are {', '.join(names)}"
    if unsupported := unsupported_hints(request, hints):
        return f" with {unsupported}"
    if absent := present - set(times.present()):
        return f" with the stream {', '.join(sorted(absent))}, which is absent"
    for stream, anchor in request.replace:
        if stream not in present or anchor.stream != stream:
            return (
                f" with {anchor!r}, an anchor for {anchor.stream}, in place of {stream}; present"
                f" streams: {', '.join(sorted(present))}"
            )
    if not set(request.read) & set(noisy(request)):
        return (
            f", which reads {', '.join(request.read) or 'nothing'}; it predicts"
            f" {', '.join(noisy(request)) or 'nothing'}"
        )
    return ""


def order(passes: Sequence[Pass], guidance: Guidance) -> list[DenoiserRun]:
    """Each distinct pass once, after the passes that it needs.

    Raises PartContractError if passes need each other in a cycle; `guidance` is named in it.
    """
    groups = _equal_passes(passes)
    group_of = {each.name: index for index, group in enumerate(groups) for each in group}
    needs = {
        index: {group_of[need] for each in group for need in each.needs} - {index}
        for index, group in enumerate(groups)
    }
    try:
        sequence = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        cycle = " -> ".join(groups[index][0].name for index in error.args[1])
        raise PartContractError(
            f"the guidance {guidance!r} requested passes that need each other: {cycle}"
        ) from error
    # static_order yields all nodes without open needs, then those that become ready: so the levels
    # never decrease along the sequence.
    levels: dict[int, int] = {}
    for index in sequence:
        levels[index] = max((levels[need] + 1 for need in needs[index]), default=0)
    return [_run(groups[index], levels[index]) for index in sequence]


def _equal_passes(passes: Sequence[Pass]) -> list[list[Pass]]:
    """Passes grouped by equality, which is compared, because anchors needn't be hashable."""
    groups: list[list[Pass]] = []
    for each in passes:
        for group in groups:
            if group[0] == each:
                group.append(each)
                break
        else:
            groups.append([each])
    return groups


def _run(group: list[Pass], level: int) -> DenoiserRun:
    read = (stream for stream in noisy(group[0]) if any(stream in each.read for each in group))
    return DenoiserRun(tuple(each.name for each in group), group[0], tuple(read), level)


def first_runs(guidance: Guidance, denoiser: Denoiser, times: StepTimes) -> list[DenoiserRun]:
    """The runs of a first step at `times`, with every condition that the denoiser accepts."""
    droppable = {name for name, port in denoiser.accepts.items() if port != KNOWN_LATENTS}
    passes = checked_passes(guidance, times, None, hints=denoiser.hints, droppable=droppable)
    return order(passes, guidance)
