"""The passes and hints that a guidance requests, found before the denoiser runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs

from harmony_parts.av import STREAMS
from harmony_parts.errors import nearest
from harmony_parts.guidance.protocol import Guidance, Pass, StepTimes, requested_passes
from harmony_parts.guidance.scales import TEXT

LEVELS = (1.0, 0.75, 0.5, 0.25, 0.01)
PROBED = tuple(
    StepTimes(video, audio)
    for video in (*LEVELS, 0.0)
    for audio in (*LEVELS, 0.0)
    if video or audio
)
"""Times of joint and driven steps, from noise to data, with equal and with unequal times of the
streams, because a guidance may be inactive at some times of a stream.
"""


@attrs.frozen
class Demands:
    """The passes that a guidance requests; `steps` maps the times of each step to them."""

    steps: Mapping[StepTimes, tuple[Pass, ...]]

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes of all steps, in order."""
        return tuple(each for passes in self.steps.values() for each in passes)

    @property
    def hints(self) -> frozenset[str]:
        """The hints that the model's own denoiser must support."""
        return frozenset[str]().union(*(each.hints for each in self.passes if not each.model))

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the other models that predict, each once, in order."""
        return tuple(dict.fromkeys(each.model for each in self.passes if each.model))

    @property
    def count(self) -> int:
        """The number of passes over all steps."""
        return len(self.passes)

    @property
    def most(self) -> int:
        """The largest number of passes in a step; 1 if the guidance is never active."""
        return max(map(len, self.steps.values()), default=0)


def demands(
    guidance: Guidance,
    streams: Collection[str] = STREAMS,
    times: Iterable[StepTimes] = PROBED,
) -> Demands:
    """What `guidance` requests at `times` from a model that has only `streams`.

    Each step is taken as the first of a run (state `None`). Whether passes can be run is checked
    by `sample.pass_graph`. Times at which no stream is generated are skipped. Raises
    PartContractError if `passes` returns something else than passes.
    """
    each = (StepTimes(*(t[s] if s in streams else None for s in STREAMS)) for t in times)
    return Demands({t: tuple(requested_passes(guidance, t, None)) for t in each if t.generated()})


def unknown_drops(guidance: Guidance, conditions: Collection[str]) -> list[str]:
    """A sentence for each name that the guidance drops, and that means no condition.

    The names of Harmony's text conditions are known everywhere: guidances drop all of them by
    default, whether a model has them or not.
    """
    dropped = dict.fromkeys(
        name for each in demands(guidance).passes if not each.model for name in each.drop
    )
    return [
        f"drops {name!r}, which no encoder of the model produces"
        f"{nearest(name, conditions)}; it produces {', '.join(sorted(conditions)) or 'none'}"
        for name in dropped
        if name not in conditions and name not in TEXT
    ]
