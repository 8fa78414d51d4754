"""Runs passes: batches the denoiser's inputs, checks its predictions, makes anchors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from harmony_parts.anchors.protocol import Anchor, Scene
from harmony_parts.av import AV, STREAMS, Times
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.known_latents import KnownBeginning
from harmony_parts.denoisers.protocol import Denoiser
from harmony_parts.errors import PartContractError
from harmony_parts.flow.protocol import Path
from harmony_parts.guidance.protocol import LATENTS, Guidance, StepTimes, conditional
from harmony_parts.sample.checks import FiniteChecks, check_shapes
from harmony_parts.sample.networks import Networks, Words, concatenated
from harmony_parts.sample.pass_graph import DenoiserRun, noisy

TOGETHER = 1024
"""The default limit of latents that go through the denoiser in one batch; see `sample`.

Measured on the demo's model and one CPU core by `python -m harmony_parts.benchmarks.guidance`:
batching passes is faster up to this size; at twice this size it gains a tenth at most.
"""

AnchorLatents = list[tuple[Anchor, Tensor]]  # a list: anchors needn't be hashable


class Passes:
    """Runs the passes of one sampling run and caches what is constant over its steps: each
    network's cache of conditions, and anchors that don't depend on the estimate.
    """

    def __init__(
        self,
        networks: Networks,
        codecs: AV[VideoCodec | AudioCodec],
        path: Path,
        together: int = TOGETHER,
    ) -> None:
        self.networks, self.codecs, self.path, self.together = networks, codecs, path, together
        self.finite = FiniteChecks()
        self._now = 0, 0  # step, and velocity within it
        self._fixed: AnchorLatents = []
        self._memories: list[tuple[Anchor, dict[str, Any]]] = []

    def predict(
        self,
        runs: Sequence[DenoiserRun],
        x: AV[Tensor],
        times: StepTimes,
        where: str,
        step: int = 0,
        velocity: int = 0,
    ) -> dict[str, AV[Tensor]]:
        """The velocities of each run, under each of its names; `where` is for error messages.

        `step` and `velocity` are for the anchors: see `Scene`.
        """
        self._now = step, velocity
        predictions: dict[str, AV[Tensor]] = {}
        estimate: AV[Tensor] | None = None
        current: AnchorLatents = []
        own = (
            conditional(times)
            if any(anchor.from_estimate for run in runs for _, anchor in run.request.replace)
            else None
        )
        for _, level in groupby(runs, key=lambda run: run.level):
            before = estimate  # anchors of this level can't use an estimate of the same level
            if own is not None:
                self.finite.settle()  # before an anchor's codec reads the estimate
            for group in self._groups(list(level), x):
                inputs = [self._input(run, x, before, current, where) for run in group]
                for run, found in zip(group, self._denoise(group, inputs, where), strict=True):
                    if run.request == own:
                        estimate = self._estimate(x, found, times)
                    predictions.update(dict.fromkeys(run.names, found))
        return predictions

    def _groups(self, level: list[DenoiserRun], x: AV[Tensor]) -> Iterator[list[DenoiserRun]]:
        """Batches of runs of one network with the same streams and hints, each of at most
        `together` latents.
        """

        def batched_by(run: DenoiserRun) -> tuple[str, Words, list[str], tuple[str, ...]]:
            request = run.request
            streams = tuple(request.times.present())
            return request.model, request.words, sorted(request.hints), streams

        size = sum(x[s][..., 0].numel() for s in x)
        for _, alike in groupby(sorted(level, key=batched_by), key=batched_by):
            runs, most = list(alike), max(1, self.together // size)
            yield from (runs[k : k + most] for k in range(0, len(runs), most))

    def _input(
        self,
        run: DenoiserRun,
        x: AV[Tensor],
        estimate: AV[Tensor] | None,
        current: AnchorLatents,
        where: str,
    ) -> tuple[AV[Tensor], AV[Times]]:
        """The latents and times of a run."""
        here = f"{where}, pass {run.names[0]!r}"
        replaced = {
            s: self._anchor(anchor, x, estimate, current, here).to(x[s].dtype)
            for s, anchor in run.request.replace
        }
        av = x.only(tuple(run.request.times.present())).replace(**replaced)
        return av, AV(
            **{s: _uniform(av[s], 0.0 if s in replaced else run.request.times[s]) for s in av}
        )

    def _denoise(
        self, group: list[DenoiserRun], inputs: list[tuple[AV[Tensor], AV[Times]]], where: str
    ) -> list[AV[Tensor]]:
        """The velocities of runs, computed in one batch, in the model's precision."""
        latents, times = zip(*inputs, strict=True)
        av = latents[0].map(lambda *each: concatenated(each), *latents[1:])
        at = times[0].map(
            lambda *each: Times(
                concatenated([t.values for t in each]), concatenated([t.index for t in each])
            ),
            *times[1:],
        )
        network = self.networks.of(group[0].request)
        conditions, cache = network.batch(tuple(run.request.drop for run in group))
        read = tuple(s for s in STREAMS if any(s in run.read for run in group))
        velocity = self._with_known(group, network.denoiser)(
            av, at, conditions, hints=group[0].request.hints, read=read, cache=cache
        ).only(read)

        of = f" of {group[0].request.model}" if group[0].request.model else ""

        def who(*runs: DenoiserRun) -> str:
            return (
                f"the denoiser {type(network.denoiser).__name__}{of} at {where}, pass"
                f" {', '.join(repr(run.names[0]) for run in runs)}"
            )

        check_shapes(velocity, av.only(read), lambda: who(*group))
        split = velocity.map(lambda v: v.chunk(len(group)) if len(group) > 1 else (v,))
        parts = [
            split.map(lambda each: each[k]).only(run.read)  # noqa: B023
            for k, run in enumerate(group)
        ]
        for run, part in zip(group, parts, strict=True):
            self.finite.add(part, lambda run=run: who(run))  # type: ignore[misc]
        return parts

    def _with_known(self, group: list[DenoiserRun], denoiser: Denoiser) -> Denoiser:
        """The denoiser, with the known first latents of streams that are noisy in one of the runs.

        Known here from the passes, because reading times back from a GPU would wait for it.
        """
        begin, streams = self.networks.begin, {s for run in group for s in noisy(run.request)}
        known = begin.only([stream for stream in begin if stream in streams])
        return KnownBeginning(denoiser, known) if tuple(known) else denoiser

    def _estimate(self, x: AV[Tensor], velocity: AV[Tensor], times: StepTimes) -> AV[Tensor]:
        """The clean latents: given, or estimated from the velocity."""
        v = widened(velocity, x)
        clean = AV(**{s: x[s] for s in x if times[s] == 0})
        return clean.replace(**{s: self.path.data(x[s], v[s], times[s] or 0.0) for s in v})

    def _anchor(
        self,
        anchor: Anchor,
        x: AV[Tensor],
        estimate: AV[Tensor] | None,
        current: AnchorLatents,
        where: str,
    ) -> Tensor:
        if anchor.from_estimate and estimate is None:
            raise PartContractError(
                f"{where}: {anchor!r} is made from the current estimate, so its pass must run"
                " after the conditional pass: request conditional(times), and give this pass"
                ' needs=("joint",)'
            )
        cache = current if anchor.from_estimate else self._fixed
        for cached, latents in cache:
            if cached == anchor:
                return latents
        conditions, memory = self.networks.own.conditions, self._memory(anchor)
        scene = Scene(self.codecs, x, conditions, estimate, memory, *self._now)
        latents = anchor.latents(scene)
        if not isinstance(latents, Tensor):
            raise PartContractError(
                f"{anchor!r} at {where} returned a {type(latents).__name__}; it should return the"
                f" latents of the {anchor.stream}, a tensor"
            )
        made = AV(**{anchor.stream: latents})
        check_shapes(made, x.only((anchor.stream,)), lambda: f"{anchor!r} at {where}")
        self.finite.add(made, lambda: f"{anchor!r} at {where}")
        cache.append((anchor, latents))
        return latents

    def _memory(self, anchor: Anchor) -> dict[str, Any]:
        for cached, memory in self._memories:
            if cached == anchor:
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
    """The guided velocity of `x` and the state; computed in at least float32, then rounded once."""
    wide = {name: widened(velocity, x) for name, velocity in predictions.items()} | {
        LATENTS: widened(x, x)
    }
    velocity, after = guided(guidance, wide, times, state)
    return velocity.map(lambda v, latents: v.to(latents.dtype), x), after


def guided(
    guidance: Guidance, predictions: Mapping[str, AV[Tensor]], times: StepTimes, state: Any
) -> tuple[AV[Tensor], Any]:
    """The result of `combine`. Raises PartContractError if it isn't a pair of AV and state."""
    answer = guidance.combine(predictions, times, state)
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], AV)):
        kind = (
            f"({', '.join(type(x).__name__ for x in answer)})"
            if isinstance(answer, tuple)
            else type(answer).__name__
        )
        raise PartContractError(
            f"combine of the guidance {guidance!r} returned {kind}; it should return an AV"
            " of velocities and the state: return v, state"
        )
    return answer


def widened(velocity: AV[Tensor], x: AV[Tensor]) -> AV[Tensor]:
    """The velocity in the precision of `x`, but at least float32."""
    return velocity.map(
        lambda v, latents: v.to(torch.promote_types(latents.dtype, torch.float32)), x
    )


def _uniform(latents: Tensor, time: float | None) -> Times:
    values = torch.full(
        (len(latents),),
        time or 0.0,
        dtype=torch.promote_types(latents.dtype, torch.float32),
        device=latents.device,
    )
    return Times.uniform(values, latents.shape[1])
