"""The passes of one velocity as a small graph: which of them are the same, what is read from each,
and in which order they run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import attrs

from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Denoiser
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.protocol import LATENTS, Guidance, Pass, StepTimes, unsupported_hints


@attrs.frozen
class DenoiserRun:
    """One run of the denoiser for all passes of `names`, which are equal. `read`: the streams that
    any of them reads.

    `level` 0 needs no other run, level n one of level n - 1: those of one level can go through the
    denoiser together.
    """

    names: tuple[str, ...]
    asked: Pass
    read: tuple[str, ...]
    level: int = 0


def noisy(asked: Pass) -> tuple[str, ...]:
    """The streams of a pass that go in at a time above 0: all that a velocity can be read of."""
    replaced = dict(asked.replace)
    return tuple(stream for stream in asked.times.generated() if stream not in replaced)


def ask(
    guidance: Guidance,
    times: StepTimes,
    state: Any,
    *,
    hints: Collection[str],
    droppable: Collection[str] | None = None,
) -> list[Pass]:
    """The guidance's passes, checked. `hints` are those that the denoiser knows; dropping
    conditions outside `droppable` changes nothing. `None`: any may be there to be dropped.

    Raises PartContractError, naming the guidance, where a pass can't be run. Assembly may call it
    to find such faults before a run.
    """

    def wrong(what: str) -> PartContractError:
        return PartContractError(f"the guidance {guidance!r} {what}")

    answer = guidance.passes(times, state)
    passes = list(answer) if isinstance(answer, Iterable) else [answer]
    if isinstance(answer, Pass) or not all(isinstance(asked, Pass) for asked in passes):
        raise wrong(
            f"returned {answer!r} as its passes; it should return a list of them, such as"
            " [conditional(times)]"
        )
    names = [asked.name for asked in passes]
    if not passes:
        raise wrong(
            f"asked for no passes at {times}; with nothing to do it should return"
            " [conditional(times)]"
        )
    for asked in passes:
        here, present = f"asked for the pass {asked.name!r}", set(asked.times.present())
        if names.count(asked.name) > 1:
            raise wrong(f"{here} twice; the names of its passes must differ")
        if asked.name == LATENTS:
            raise wrong(f"{here}; that name is taken by what the predictions are of")
        if unknown := set(asked.needs) - set(names):
            raise wrong(
                f"{here}, which needs {', '.join(sorted(unknown))}; its passes are"
                f" {', '.join(names)}"
            )
        if misfit := unsupported_hints(asked, hints):
            raise wrong(f"{here} with {misfit}")
        if absent := present - set(times.present()):
            raise wrong(f"{here} with the stream {', '.join(sorted(absent))}, which is absent")
        for stream, anchor in asked.replace:
            if stream not in present or anchor.stream != stream:
                streams = ", ".join(sorted(present))
                raise wrong(
                    f"{here} with {anchor!r}, which is for {anchor.stream}, in place of {stream};"
                    f" present: {streams}"
                )
        if not set(asked.read) & set(noisy(asked)):
            readable = ", ".join(noisy(asked)) or "nothing"
            raise wrong(
                f"{here}, which reads {', '.join(asked.read) or 'nothing'}; what can be read of it"
                f" is {readable}"
            )
    return (
        passes
        if droppable is None
        else [attrs.evolve(asked, drop=asked.drop & set(droppable)) for asked in passes]
    )


def order(passes: Sequence[Pass], guidance: Guidance) -> list[DenoiserRun]:
    """Each distinct pass once, level by level, what it needs before it. Raises PartContractError
    where passes need each other in a circle.
    """
    groups: list[list[Pass]] = []
    for asked in passes:
        # By comparing, not hashing: there are a handful, and a third party's anchor may hold what
        # can't be hashed.
        for group in groups:
            if group[0] == asked:
                group.append(asked)
                break
        else:
            groups.append([asked])
    where = {asked.name: index for index, group in enumerate(groups) for asked in group}
    needs = {
        index: {where[need] for asked in group for need in asked.needs} - {index}
        for index, group in enumerate(groups)
    }
    try:
        sequence = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " -> ".join(groups[index][0].name for index in error.args[1])
        raise PartContractError(
            f"the guidance {guidance!r} asked for passes that need each other: {circle}"
        ) from error
    # they rise along the sequence, which takes all that wait for nothing more, then what waited for
    # those
    levels: dict[int, int] = {}
    for index in sequence:
        levels[index] = max((levels[need] + 1 for need in needs[index]), default=0)
    return [
        DenoiserRun(
            names=tuple(asked.name for asked in groups[index]),
            asked=groups[index][0],
            read=tuple(
                stream
                for stream in noisy(groups[index][0])
                if any(stream in asked.read for asked in groups[index])
            ),
            level=levels[index],
        )
        for index in sequence
    ]


def first_runs(guidance: Guidance, denoiser: Denoiser, times: StepTimes) -> list[DenoiserRun]:
    """The runs of a first step at `times`, given every condition that the denoiser accepts."""
    droppable = {name for name, port in denoiser.accepts.items() if port != KNOWN_LATENTS}
    passes = ask(guidance, times, None, hints=denoiser.hints, droppable=droppable)
    return order(passes, guidance)
