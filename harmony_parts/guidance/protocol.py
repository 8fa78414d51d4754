"""Guidance: the passes that a step needs, and how to combine their predictions.

The sampler gets the `passes` of a step, runs each distinct pass once, and calls `combine` once.
Each stream has its own time at every step: the streams may have different shifts, so what depends
on the time is decided for each stream by its own. A stream at time 0 is given (audio-driven video
has `times.audio == 0`), and no pass needs to predict it. A pass may run another model, or this one
with other words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

import attrs
from torch import Tensor

from harmony_parts.anchors.protocol import Anchor
from harmony_parts.av import AV, STREAMS
from harmony_parts.errors import PartContractError

CONDITIONAL = "joint"
"""The name of the conditional pass: all conditions, no anchors. Anchors that are made from the
current estimate need this pass.
"""
LATENTS = "latents"
"""The name of the current latents x_t among the predictions, for guidance that combines clean
estimates x = x_t - t v.
"""
WORDS = ("caption", "sound", "speech")
"""The texts of a `Prompt`, which a pass may replace."""


@attrs.frozen
class StepTimes:
    """The time of each stream at a step: 0 for a given stream, `None` for an absent one."""

    video: float | None = None
    audio: float | None = None

    def __getitem__(self, stream: str) -> float | None:
        return {"video": self.video, "audio": self.audio}[stream]

    def generated(self) -> tuple[str, ...]:
        """The streams that are generated."""
        return tuple(stream for stream in STREAMS if self[stream])

    def present(self) -> Iterator[str]:
        """The streams that exist, given or generated."""
        return (stream for stream in STREAMS if self[stream] is not None)


_REPLACE = 'replace of a pass gives streams an anchor, as in {"video": StaticVideo()}'


def _pairs(
    replace: Mapping[str, Anchor] | Collection[tuple[str, Anchor]],
) -> tuple[tuple[str, Anchor], ...]:
    if isinstance(replace, str):
        raise ValueError(f"{_REPLACE}, not {replace!r}")
    pairs = tuple(replace.items() if isinstance(replace, Mapping) else replace)
    for _, anchor in pairs:
        if isinstance(anchor, type) or not hasattr(anchor, "stream"):
            raise ValueError(f"{_REPLACE}; {anchor!r} isn't an anchor")
    return tuple(sorted(pairs, key=lambda pair: pair[0]))


def _tuple(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):  # would be a collection of letters
        raise ValueError(
            f"drop, hints, read and needs of a pass are collections of names: write [{names!r}]"
            f" instead of {names!r}"
        )
    return tuple(names)


def _set(names: Iterable[str]) -> frozenset[str]:
    return frozenset(_tuple(names))


def _words(words: Mapping[str, str] | Collection[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    if isinstance(words, str):
        raise ValueError(
            f"words of a pass replace texts of a prompt: write {{'caption': {words!r}}} instead of"
            f" {words!r}"
        )
    pairs = dict(words)
    if unknown := sorted(pairs.keys() - set(WORDS)):
        raise ValueError(
            f"words of a pass are texts of a prompt: {', '.join(WORDS)}, not {', '.join(unknown)}"
        )
    if wrong := sorted(name for name, text in pairs.items() if not isinstance(text, str)):
        raise ValueError(
            f"words of a pass are texts, and {', '.join(wrong)} isn't one; use `drop` for the null"
            " form of a condition"
        )
    return tuple(sorted(pairs.items()))


@attrs.frozen
class Pass:
    """One evaluation of a denoiser. Equal passes run once; name, `read` and `needs` don't count.

    - `times`: the times that the guidance got; the sampler sets replaced streams to time 0.
    - `replace`: stream -> anchor.
    - `drop`: names of conditions to replace by their null forms. Unknown names have no effect. Nor
      have conditions that fix latents of the video (`Port("video", "clean_tokens")`, such as a
      given first frame): a known latent is kept in every pass.
    - `hints`: changes to the network, which the denoiser must list as supported.
    - `model`: the name of another model that predicts in place of this one; "" is this one. For a
      pipeline it is a folder: a model, a run, or a checkpoint of a run. Its latents are the same,
      its encoders and conditions are its own.
    - `words`: texts of the prompt -> other texts in their place (`WORDS`), before any is dropped.
    - `read`: the streams whose prediction is needed.
    - `needs`: names of passes of the same guidance that must run before.
    - `remedy`: what to change if the denoiser doesn't support the hints, for the error message.
    """

    name: str = attrs.field(eq=False)
    times: StepTimes
    replace: tuple[tuple[str, Anchor], ...] = attrs.field(default=(), converter=_pairs)
    drop: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    hints: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    model: str = attrs.field(default="", converter=str)
    words: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_words)
    read: tuple[str, ...] = attrs.field(default=STREAMS, eq=False, converter=_tuple)
    needs: tuple[str, ...] = attrs.field(default=(), eq=False, converter=_tuple)
    remedy: str = attrs.field(default="", eq=False)


def conditional(times: StepTimes) -> Pass:
    """The conditional pass, which reads the generated streams."""
    return Pass(CONDITIONAL, times, read=times.generated())


def requested_passes(guidance: Guidance, times: StepTimes, state: Any) -> list[Pass]:
    """The passes of a step. Raises PartContractError if the guidance returns something else."""
    answer = guidance.passes(times, state)
    passes = list(answer) if isinstance(answer, Iterable) else [answer]
    if isinstance(answer, Pass) or not all(isinstance(each, Pass) for each in passes):
        raise PartContractError(
            f"the guidance {guidance!r} returned {answer!r} from passes; return a list of Pass,"
            " such as [conditional(times)]"
        )
    return passes


def unsupported_hints(requested: Pass, supported: Collection[str]) -> str:
    """Describe a pass's unsupported hints for an error message; "" if there are none.

    Names the hints, those that are `supported`, and the pass's remedy or the nearest match.
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
    single = [
        hint
        for hint in hints
        if not (hint.rpartition("-")[0] in ranges and hint.rpartition("-")[2].isdecimal())
    ]
    return ", ".join(
        sorted(
            [*single, *(f"{name}-{low} to {name}-{high}" for name, (low, high) in ranges.items())]
        )
    )


Predictions = Mapping[str, AV[Tensor]]
"""Pass name -> velocities of the streams in its `read`, and `LATENTS` -> x_t.

More streams may be present if another guidance reads them. All are in the precision of the latents
but at least float32, regardless of the model's precision; the result of `combine` is rounded to the
precision of the latents once.
"""


class Guidance(Protocol):
    """A frozen class, compared by value, that is its own spec.

    At its off value it requests only `conditional(times)` and returns that prediction bit for bit.
    A guidance that can't have one of the properties in `harmony_parts.testing.guidance_properties`
    declares it in `exempt`, a mapping from the property's name to the reason.
    """

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The passes of this step, with unique names; one is `conditional(times)`.

        `state` is the one that `combine` returned at the previous step, `None` at the first.
        """

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """The guided velocities of `times.generated()`, and the state for the next step.

        A pure function: equal arguments give equal results.
        """
