"""Guidance: which passes a step needs, and how their predictions combine. A step is a small graph;
combining is pure.

The sampler asks for the `passes` of a step, runs each distinct one once, and calls `combine` once.
Times are those of the whole step, one number per stream: a stream at time 0 is given (audio-driven
video has `times.audio == 0`), and no pass needs to predict it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

import attrs
from torch import Tensor

from harmony_parts.anchors.protocol import Anchor
from harmony_parts.av import AV, STREAMS

CONDITIONAL = "joint"
"""The name of the task's own pass: all conditions, no anchor. Anchors made from the current
estimate read this pass.
"""
LATENTS = "latents"
"""What the predictions are of, x_t, stands among them under this name, for guidance of clean
estimates: x = x_t - t v.
"""


@attrs.frozen
class StepTimes:
    """The time of each stream at this step: 0 where it is given, `None` where it is absent."""

    video: float | None = None
    audio: float | None = None

    def __getitem__(self, stream: str) -> float | None:
        return {"video": self.video, "audio": self.audio}[stream]

    def generated(self) -> tuple[str, ...]:
        """The streams that are being made."""
        return tuple(stream for stream in STREAMS if self[stream])

    def highest(self) -> float:
        """The time of the noisiest stream: that of the step, where one number is wanted."""
        return max(self.video or 0.0, self.audio or 0.0)

    def present(self) -> Iterator[str]:
        """The streams that exist, given or made."""
        return (stream for stream in STREAMS if self[stream] is not None)


def _pairs(
    replace: Mapping[str, Anchor] | Collection[tuple[str, Anchor]],
) -> tuple[tuple[str, Anchor], ...]:
    return tuple(
        sorted(
            replace.items() if isinstance(replace, Mapping) else replace, key=lambda pair: pair[0]
        )
    )


def _tuple(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):  # a collection too, of letters
        raise ValueError(
            f"drop, hints, read and needs of a pass are collections of names: [{names!r}], not"
            f" {names!r}"
        )
    return tuple(names)


def _set(names: Iterable[str]) -> frozenset[str]:
    return frozenset(_tuple(names))


@attrs.frozen
class Pass:
    """One run of the denoiser. Equal passes (whatever they are called, and whatever is read from
    them) are run once.

    `times`: the step's own, as the guidance got them; a replaced stream goes in at time 0 by
    itself. `replace`: stream -> anchor. `drop`: names of conditions to replace by their null forms;
    names that aren't there change nothing, nor do conditions that say what latents of the video are
    (`Port("video", "clean_tokens")`: a given picture), for a known latent leads to itself in every
    pass. `hints`: requests that the denoiser lists as supported. `read`: the streams whose
    prediction is wanted. `needs`: names of passes of the same guidance that must be run before.
    `remedy`: what to change where the denoiser doesn't know the hints, for the error.
    """

    name: str = attrs.field(eq=False)
    times: StepTimes
    replace: tuple[tuple[str, Anchor], ...] = attrs.field(default=(), converter=_pairs)
    drop: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    hints: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    read: tuple[str, ...] = attrs.field(default=STREAMS, eq=False, converter=_tuple)
    needs: tuple[str, ...] = attrs.field(default=(), eq=False, converter=_tuple)
    remedy: str = attrs.field(default="", eq=False)


def conditional(times: StepTimes) -> Pass:
    """The task's own pass, reading the streams that are being made."""
    return Pass(CONDITIONAL, times, read=times.generated())


def unsupported_hints(requested: Pass, supported: Collection[str]) -> str:
    """Which hints of a pass the denoiser doesn't support, what it supports, and the remedy, for an
    error message; "" if it supports all of them.
    """
    unknown = sorted(requested.hints - set(supported))
    if not unknown:
        return ""
    near = "".join(
        f" (did you mean {like!r}?)"
        for hint in unknown
        for like in get_close_matches(hint, supported, 1, 0.8)
    )
    more = f": {requested.remedy}" if requested.remedy else near
    return (
        f"the hint {', '.join(unknown)}; the denoiser supports {_listed(supported) or 'none'}{more}"
    )


def _listed(hints: Collection[str]) -> str:
    """Hints in order; consecutive numbers, such as one hint per block, as `skip-0 to skip-29`."""
    numbers: dict[str, list[int]] = {}
    for name, _, number in (hint.rpartition("-") for hint in hints):
        if number.isdecimal():
            numbers.setdefault(name, []).append(int(number))
    ranges = {
        name: (min(n), max(n)) for name, n in numbers.items() if max(n) - min(n) == len(n) - 1 > 1
    }
    alone = [
        hint
        for hint in hints
        if not (hint.rpartition("-")[0] in ranges and hint.rpartition("-")[2].isdecimal())
    ]
    return ", ".join(
        sorted(
            [*alone, *(f"{name}-{low} to {name}-{high}" for name, (low, high) in ranges.items())]
        )
    )


Predictions = Mapping[str, AV[Tensor]]
"""Pass name -> velocities of the streams that it was asked to read (or more: another guidance may
have asked for them), and `LATENTS` -> x_t.

All in the precision of the latents and at least float32, whatever the model's: what `combine`
returns is rounded to the latents' once.
"""


class Guidance(Protocol):
    """Frozen, compared by value, its own spec.

    At its off value it asks for `conditional(times)` alone and returns that prediction bit for bit.
    What of the properties that `harmony_parts.testing.guidance_properties` lists can't hold for a
    guidance, it declares: `exempt`, a mapping of their names to the reason why.
    """

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The passes of this step, among them the task's own, `conditional(times)`; their names are
        unique.

        `state` is what `combine` returned at the last step, `None` at the first.
        """

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """The guided velocities of `times.generated()`, and the state for the next step. Pure: same
        arguments, same result.
        """
