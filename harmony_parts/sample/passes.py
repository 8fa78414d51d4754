"""Running passes: what goes into the denoiser, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from harmony_parts.anchors.protocol import Anchor, Scene
from harmony_parts.av import AV, STREAMS, Condition, Conditions, Times, drop
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Denoiser
from harmony_parts.errors import PartContractError, RunError
from harmony_parts.flow.protocol import Path
from harmony_parts.guidance.protocol import LATENTS, Guidance, StepTimes, conditional
from harmony_parts.sample.pass_graph import DenoiserRun

TOGETHER = 1024
"""How many latents go through the denoiser together at most, unless a caller says otherwise; see
`sample`.

Measured on the demo's model and one CPU core by `python -m harmony_parts.benchmarks.guidance`:
together is faster up to there, and at twice that slower.
"""

Made = list[tuple[Anchor, Tensor]]  # anchors are compared, not hashed


class Passes:
    """Runs the passes of one sampling run, and keeps what is the same at every step: the denoiser's
    cache of conditions, fixed anchors.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        conditions: Conditions,
        codecs: AV[VideoCodec | AudioCodec],
        path: Path,
        together: int = TOGETHER,
    ) -> None:
        self.denoiser, self.conditions, self.codecs, self.path, self.together = (
            denoiser,
            conditions,
            codecs,
            path,
            together,
        )
        # A known latent leads to itself. A pass without the given picture would predict that latent
        # freely, and what combines the passes would lead away from the picture: v = v_free + s
        # (v_known - v_free) is v_known for s = 1 only. So it stays in every pass.
        known = {name for name, port in denoiser.accepts.items() if port == KNOWN_LATENTS}
        self.droppable = {
            name for name, condition in conditions.items() if condition.null is not None
        } - known
        self._fixed: Made = []
        self._memories: list[tuple[Anchor, dict[str, Any]]] = []
        self._told: dict[
            tuple[frozenset[str], ...], tuple[dict[str, Condition], dict[str, Any]]
        ] = {}

    def predict(
        self, runs: Sequence[DenoiserRun], x: AV[Tensor], times: StepTimes, where: str
    ) -> dict[str, AV[Tensor]]:
        """The velocities of each run, under each of its names; `where` is said in errors."""
        predictions: dict[str, AV[Tensor]] = {}
        estimate: AV[Tensor] | None = None
        current: Made = []
        own = (
            conditional(times)
            if any(anchor.from_estimate for run in runs for _, anchor in run.asked.replace)
            else None
        )
        for _, level in groupby(runs, key=lambda run: run.level):
            before = estimate  # anchors of this level don't see what is made on it
            for group in self._groups(list(level), x):
                inputs = [self._input(run, x, before, current, where) for run in group]
                for run, velocity in zip(group, self._denoise(group, inputs, where), strict=True):
                    if run.asked == own:
                        estimate = self._estimate(x, velocity, times)
                    predictions.update(dict.fromkeys(run.names, velocity))
        return predictions

    def _groups(self, level: list[DenoiserRun], x: AV[Tensor]) -> Iterator[list[DenoiserRun]]:
        """The runs that go through the denoiser together: of the same streams and hints, and no
        more latents than `together`.
        """
        size = sum(x[s][..., 0].numel() for s in x)
        for _, alike in groupby(
            sorted(level, key=lambda run: (sorted(run.asked.hints), *run.asked.times.present())),
            key=lambda run: (run.asked.hints, *run.asked.times.present()),
        ):
            runs, most = list(alike), max(1, self.together // size)
            yield from (runs[k : k + most] for k in range(0, len(runs), most))

    def _input(
        self,
        run: DenoiserRun,
        x: AV[Tensor],
        estimate: AV[Tensor] | None,
        current: Made,
        where: str,
    ) -> tuple[AV[Tensor], AV[Times]]:
        """The latents and times of a run."""
        here = f"{where}, pass {run.names[0]!r}"
        replaced = {
            s: self._anchor(anchor, x, estimate, current, here).to(x[s].dtype)
            for s, anchor in run.asked.replace
        }
        av = x.only(tuple(run.asked.times.present())).replace(**replaced)
        return av, AV(
            **{s: _uniform(av[s], 0.0 if s in replaced else run.asked.times[s]) for s in av}
        )

    def _denoise(
        self, group: list[DenoiserRun], inputs: list[tuple[AV[Tensor], AV[Times]]], where: str
    ) -> list[AV[Tensor]]:
        """The velocities of runs that go through the denoiser together, in the model's
        precision.
        """
        latents, times = zip(*inputs, strict=True)
        av = latents[0].map(_cat, *latents[1:])
        at = times[0].map(
            lambda *each: Times(_cat(*(t.values for t in each)), _cat(*(t.index for t in each))),
            *times[1:],
        )
        conditions, cache = self._tell(tuple(run.asked.drop for run in group))
        read = tuple(s for s in STREAMS if any(s in run.read for run in group))
        velocity = self.denoiser(
            av, at, conditions, hints=group[0].asked.hints, read=read, cache=cache
        ).only(read)

        def who(*runs: DenoiserRun) -> str:
            return (
                f"the denoiser {type(self.denoiser).__name__} at {where}, pass"
                f" {', '.join(repr(run.names[0]) for run in runs)}"
            )

        check_shapes(velocity, av.only(read), lambda: who(*group))
        parts = [
            velocity.map(lambda v: v.chunk(len(group))[k]).only(run.read)  # noqa: B023
            for k, run in enumerate(group)
        ]
        for run, part in zip(group, parts, strict=True):
            check_finite(part, lambda: who(run))  # noqa: B023
        return parts

    def _tell(
        self, drops: tuple[frozenset[str], ...]
    ) -> tuple[dict[str, Condition], dict[str, Any]]:
        """The conditions of runs that drop these, one after the other on the batch axis, and the
        denoiser's cache of them.
        """
        if drops not in self._told:
            told = [drop(self.conditions, names) for names in drops]
            one_after_the_other = {
                name: Condition(
                    _cat(*(each[name].tokens for each in told)),
                    _cat(*(each[name].mask for each in told)),
                )
                for name in self.conditions
            }
            self._told[drops] = (told[0] if len(told) == 1 else one_after_the_other), {}
        return self._told[drops]

    def _estimate(self, x: AV[Tensor], velocity: AV[Tensor], times: StepTimes) -> AV[Tensor]:
        """The clean latents, given or estimated."""
        v = widened(velocity, x)
        clean = AV(**{s: x[s] for s in x if times[s] == 0})
        return clean.replace(**{s: self.path.data(x[s], v[s], times[s] or 0.0) for s in v})

    def _anchor(
        self, anchor: Anchor, x: AV[Tensor], estimate: AV[Tensor] | None, current: Made, where: str
    ) -> Tensor:
        if anchor.from_estimate and estimate is None:
            raise PartContractError(
                f"{where}: {anchor!r} is made from the current estimate, so the pass must come"
                " after the task's own one: "
                f'ask for conditional(times), and give this pass needs=("joint",)'
            )
        made = current if anchor.from_estimate else self._fixed
        for known, latents in made:
            if known == anchor:
                return latents
        latents = anchor.latents(
            Scene(self.codecs, x, self.conditions, estimate, self._memory(anchor))
        )
        check(
            AV(**{anchor.stream: latents}),
            x.only((anchor.stream,)),
            lambda: f"{anchor!r} at {where}",
        )
        made.append((anchor, latents))
        return latents

    def _memory(self, anchor: Anchor) -> dict[str, Any]:
        for known, memory in self._memories:
            if known == anchor:
                return memory
        self._memories.append((anchor, {}))
        return self._memories[-1][1]


def combined(
    guidance: Guidance,
    predictions: Mapping[str, AV[Tensor]],
    times: StepTimes,
    state: Any,
    x: AV[Tensor],
) -> tuple[AV[Tensor], Any]:
    """What the guidance makes of the predictions of `x`, computed in float32 or better and rounded
    to the precision of `x` once.
    """
    wide = {name: widened(velocity, x) for name, velocity in predictions.items()} | {
        LATENTS: widened(x, x)
    }
    velocity, after = guided(guidance, wide, times, state)
    return velocity.map(lambda v, latents: v.to(latents.dtype), x), after


def guided(
    guidance: Guidance, predictions: Mapping[str, AV[Tensor]], times: StepTimes, state: Any
) -> tuple[AV[Tensor], Any]:
    """What the guidance's `combine` returns. Raises PartContractError where that is no pair of
    velocities and state.
    """
    answer = guidance.combine(predictions, times, state)
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], AV)):
        kind = (
            f"({', '.join(type(x).__name__ for x in answer)})"
            if isinstance(answer, tuple)
            else type(answer).__name__
        )
        raise PartContractError(
            f"combine of the guidance {guidance!r} returned {kind}; it should be an AV of"
            " velocities and the state: return v, state"
        )
    return answer


def widened(velocity: AV[Tensor], x: AV[Tensor]) -> AV[Tensor]:
    """In the precision of `x`, and float32 at least."""
    return velocity.map(
        lambda v, latents: v.to(torch.promote_types(latents.dtype, torch.float32)), x
    )


Who = Callable[[], str]
"""Whom to blame; said in errors only, for it takes longer than the check."""


def check(got: AV[Tensor], like: AV[Tensor], who: Who) -> None:
    """Raises PartContractError where `got` hasn't the streams and shapes of `like`, RunError where
    it holds NaN or infinity.
    """
    check_shapes(got, like, who)
    check_finite(got, who)


def check_shapes(got: AV[Tensor], like: AV[Tensor], who: Who) -> None:
    """Raises PartContractError where `got` hasn't the streams and shapes of `like`."""
    want, have = ({s: list(av[s].shape) for s in av} for av in (like, got))
    if have != want:
        raise PartContractError(f"{who()} returned {have}; it should be {want}")


def check_finite(got: AV[Tensor], who: Who) -> None:
    """Raises RunError where `got` holds NaN or infinity."""
    for stream in got:
        # A sum is a fifth of the work of looking at each number, and isn't finite where one of them
        # isn't. It may also overflow: look then.
        if not math.isfinite(float(got[stream].sum())) and not torch.isfinite(got[stream]).all():
            raise RunError(
                f"{who()} returned NaN or infinity for {stream}: check its inputs, take a higher"
                " precision or a lower scale"
            )


def _cat(*tensors: Tensor) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def _uniform(latents: Tensor, time: float | None) -> Times:
    values = torch.full(
        (len(latents),),
        time or 0.0,
        dtype=torch.promote_types(latents.dtype, torch.float32),
        device=latents.device,
    )
    return Times.uniform(values, latents.shape[1])
