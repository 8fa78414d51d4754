"""The passes and hints that a guidance requests of a denoiser, found out before anything is run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs

from harmony_parts.av import STREAMS
from harmony_parts.guidance.protocol import Guidance, Pass, StepTimes

LEVELS = (1.0, 0.75, 0.5, 0.25, 0.01)
PROBED = tuple(
    StepTimes(video, audio)
    for video in (*LEVELS, 0.0)
    for audio in (*LEVELS, 0.0)
    if video or audio
)
"""Joint and driven steps from noise to data, the streams at equal and at different times: a
guidance may rest at some of them.
"""


@attrs.frozen
class Demands:
    """What a guidance requests over several steps. `steps`: the passes at each of the times."""

    steps: Mapping[StepTimes, tuple[Pass, ...]]

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes of all steps, in order."""
        return tuple(each for passes in self.steps.values() for each in passes)

    @property
    def hints(self) -> frozenset[str]:
        """The hints that a denoiser must support."""
        return frozenset[str]().union(*(each.hints for each in self.passes))

    @property
    def count(self) -> int:
        """The number of passes over all steps."""
        return len(self.passes)

    @property
    def most(self) -> int:
        """The number of passes of the most expensive step; 1: nothing is guided."""
        return max(map(len, self.steps.values()), default=0)


def demands(
    guidance: Guidance,
    streams: Collection[str] = STREAMS,
    times: Iterable[StepTimes] = PROBED,
) -> Demands:
    """What `guidance` requests at `times` of a model that has only `streams`.

    The passes are those of a first step (state `None`) and aren't checked: `sample.pass_graph.ask`
    does that. Times at which no stream is generated are left out.
    """
    each = (StepTimes(*(t[s] if s in streams else None for s in STREAMS)) for t in times)
    return Demands({t: tuple(guidance.passes(t, None)) for t in each if t.generated()})
