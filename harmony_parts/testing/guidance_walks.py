"""Walks: sampling steps with random predictions, on which properties of guidance are checked."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.av import AV, STREAMS
from harmony_parts.guidance.protocol import LATENTS, Guidance, Pass, StepTimes
from harmony_parts.sample.pass_graph import checked_passes, noisy

SHIFTS = {
    "joint": (1.0, 1.0),
    "joint, video later": (12.0, 3.0),
    "joint, audio later": (0.5, 4.0),
    "audio-driven": (1.0, 0.0),
    "video-driven": (0.0, 3.0),
    "video only": (5.0, None),
    "audio only": (None, 1.0),
}
"""Task -> the shift of each stream's times: 0 for a given stream, `None` for an absent one."""
SHAPES = AV((2, 2, 1, 3), (4, 2))
FORMS = ("normal", "zero", "constant", "tiny", "huge")
OTHER = {"video": "audio", "audio": "video"}

Key = tuple[object, ...]
Change = Callable[[str, str, Tensor], Tensor]
"""(name of the pass or `LATENTS`, stream, values) -> changed values."""


def key(request: Pass, anchors: bool = True, swap: bool = False) -> Key:
    """The input of the denoiser for a pass, as a key for its predictions.

    Without `anchors`, only the names of replaced streams count. `swap` exchanges the streams.
    """
    replaced = sorted(
        (OTHER[stream] if swap else stream, repr(anchor) if anchors else "")
        for stream, anchor in request.replace
    )
    dropped, hints = tuple(sorted(request.drop)), tuple(sorted(request.hints))
    # only passes of other models or words have those in their keys, which the predictions' values
    # are drawn from
    return tuple(replaced), dropped, hints, *filter(None, (request.model, request.words))


@attrs.frozen
class Walk:
    """Steps at the given times, with predictions that depend on `seed`, the step and the pass.

    Equal passes get equal predictions. `form` is one of `FORMS`: standard normal or degenerate.
    """

    times: tuple[StepTimes, ...]
    seed: int = 0
    samples: int = 2
    dtype: torch.dtype = torch.float64
    form: str = "normal"

    def values(self, step: int, key: object, stream: str, like: str | None = None) -> Tensor:
        """Values [samples, ...] with the shape of `stream` or of the stream `like`.

        They are velocities for the key of a pass, and x_t for `LATENTS`.
        """
        shape = (self.samples, *SHAPES[like or stream])
        seeded = torch.Generator().manual_seed(
            zlib.crc32(repr((self.seed, step, key, stream)).encode())
        )
        # Drawn in float64: sums of float32 numbers would be exact in float64, so that all orders of
        # summation would agree bit for bit.
        values = torch.randn(shape, dtype=torch.float64, generator=seeded)
        match self.form:
            case "constant":
                values = values.flatten()[0].expand(shape)
            case "zero" | "tiny" | "huge":
                values = values * {"zero": 0.0, "tiny": 1e-30, "huge": 1e10}[self.form]
        return values.to(self.dtype)

    def predictions(
        self, step: int, passes: list[Pass], *, anchors: bool = True
    ) -> dict[str, AV[Tensor]]:
        """The predictions of a step's passes, only of streams that each may read, and x_t."""
        latents = {
            LATENTS: AV(**{s: self.values(step, LATENTS, s) for s in self.times[step].present()})
        }
        return latents | {
            p.name: AV(
                **{s: self.values(step, key(p, anchors), s) for s in noisy(p) if s in p.read}
            )
            for p in passes
        }


@attrs.frozen(eq=False)
class WalkStep:
    """One step of a walk: passes, predictions, guided result, and the state after it."""

    times: StepTimes
    passes: list[Pass]
    preds: dict[str, AV[Tensor]]
    result: AV[Tensor]
    state: Any


def checked(guidance: Guidance, times: StepTimes, state: Any) -> list[Pass]:
    """The checked passes, for a denoiser with all requested hints and droppable conditions."""
    passes = list(guidance.passes(times, state))
    hints, names = {h for p in passes for h in p.hints}, {name for p in passes for name in p.drop}
    return checked_passes(guidance, times, state, hints=hints, droppable=names)


def steps(guidance: Guidance, walk: Walk, change: Change | None = None) -> Iterator[WalkStep]:
    """The steps of a walk, with `change` applied to predictions and latents."""
    state: Any = None
    for number, times in enumerate(walk.times):
        passes = checked(guidance, times, state)
        preds = walk.predictions(number, passes)
        if change is not None:
            preds = {
                name: AV(**{s: change(name, s, av[s]) for s in av}) for name, av in preds.items()
            }
        result, state = guidance.combine(preds, times, state)
        yield WalkStep(times, passes, preds, result, state)


def results(guidance: Guidance, walk: Walk, change: Change | None = None) -> list[AV[Tensor]]:
    """The guided result of each step."""
    return [step.result for step in steps(guidance, walk, change)]


def _shifted(shifts: tuple[float | None, float | None], u: float) -> StepTimes:
    """The times of both streams at the unshifted time u: s u / (1 + (s - 1) u) each."""
    return StepTimes(*(s * u / (1 + (s - 1) * u) if s else s for s in shifts))


def some_walks() -> Iterator[Walk]:
    """Walks of two steps of every task, for checks without a search."""
    for seed, shifts in enumerate([*SHIFTS.values()] * 2):
        yield Walk(tuple(_shifted(shifts, u) for u in (0.9, 0.5)), seed, samples=2)


@st.composite
def walks(draw: st.DrawFn) -> Walk:
    """Walks of one to three steps of every task, from any time; unequal if shifts are."""
    shifts, start = draw(st.sampled_from(list(SHIFTS.values()))), draw(st.floats(0.05, 1))
    count = draw(st.integers(1, 3))
    times = tuple(_shifted(shifts, start * (1 - k / count)) for k in range(count))
    return Walk(times, seed=draw(st.integers(0, 9999)), samples=draw(st.integers(1, 3)))


@st.composite
def velocities(
    draw: st.DrawFn, streams: tuple[str, ...] = STREAMS, dtype: torch.dtype = torch.float64
) -> AV[Tensor]:
    """Predictions of one pass, including degenerate ones."""
    walk = Walk(
        (), draw(st.integers(0, 9999)), draw(st.integers(1, 3)), dtype, draw(st.sampled_from(FORMS))
    )
    return AV(**{stream: walk.values(0, "", stream) for stream in streams})
