"""Running passes: what goes into the denoiser, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harmony_parts.anchors.protocol import Anchor, Scene
from harmony_parts.av import AV, Condition, Conditions, Times, drop
from harmony_parts.blocks.protocol import KNOWN, Denoiser
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.errors import PartContractError, RunError
from harmony_parts.flow.protocol import Path
from harmony_parts.guidance.protocol import StepTimes, conditional
from harmony_parts.sample.graph import Run

Made = list[tuple[Anchor, Tensor]]  # anchors are compared, not hashed


class Passes:
    """Runs the passes of one sampling run, and keeps what is the same at every step: the denoiser's cache of conditions, fixed anchors."""

    def __init__(self, denoiser: Denoiser, conditions: Conditions, codecs: AV[VideoCodec | AudioCodec], path: Path) -> None:
        self.denoiser, self.conditions, self.codecs, self.path = denoiser, conditions, codecs, path
        # A known latent leads to itself. A pass without the given picture would predict that latent freely, and what combines the passes
        # would lead away from the picture: v = v_free + s (v_known - v_free) is v_known for s = 1 only. So it stays in every pass.
        known = {name for name, port in denoiser.accepts.items() if port == KNOWN}
        self.droppable = {name for name, condition in conditions.items() if condition.null is not None} - known
        self._fixed: Made = []
        self._told: dict[frozenset[str], tuple[dict[str, Condition], dict[str, Any]]] = {}

    def predict(self, runs: Sequence[Run], x: AV[Tensor], times: StepTimes, where: str) -> dict[str, AV[Tensor]]:
        """The velocities of each run, under each of its names; `where` is said in errors."""
        predictions: dict[str, AV[Tensor]] = {}
        estimate: AV[Tensor] | None = None
        current: Made = []
        for run in runs:
            replaced = {s: self._anchor(anchor, x, estimate, current, f"{where}, pass {run.names[0]!r}") for s, anchor in run.asked.replace}
            velocity = self._denoise(run, x, replaced, where)
            if run.asked == conditional(times):
                clean = AV(**{s: x[s] for s in x if times[s] == 0})
                estimate = clean.replace(**{s: self.path.data(x[s], velocity[s], times[s] or 0.0) for s in velocity})
            predictions.update(dict.fromkeys(run.names, velocity))
        return predictions

    def _denoise(self, run: Run, x: AV[Tensor], replaced: dict[str, Tensor], where: str) -> AV[Tensor]:
        av = x.only(tuple(run.asked.times.present())).replace(**replaced)
        times = AV(**{s: _uniform(av[s], 0.0 if s in replaced else run.asked.times[s]) for s in av})
        conditions, cache = self._told.setdefault(run.asked.drop, (drop(self.conditions, run.asked.drop), {}))
        velocity = self.denoiser(av, times, conditions, hints=run.asked.hints, read=run.read, cache=cache).only(run.read)
        who = f"the denoiser {type(self.denoiser).__name__} at {where}, pass {run.names[0]!r}"
        check(velocity, av.only(run.read), who)
        # Guidance and solver compute in the precision of the latents, whatever that of the model.
        return velocity.map(lambda v, latents: v.to(latents.dtype), av)

    def _anchor(self, anchor: Anchor, x: AV[Tensor], estimate: AV[Tensor] | None, current: Made, where: str) -> Tensor:
        if anchor.from_estimate and estimate is None:
            raise PartContractError(
                f"{where}: {anchor!r} is made from the current estimate, so the pass must come after the task's own one: "
                f'ask for conditional(times), and give this pass needs=("joint",)'
            )
        made = current if anchor.from_estimate else self._fixed
        for known, latents in made:
            if known == anchor:
                return latents
        latents = anchor.latents(Scene(self.codecs, x, self.conditions, estimate))
        check(AV(**{anchor.stream: latents}), x.only((anchor.stream,)), f"{anchor!r} at {where}")
        made.append((anchor, latents))
        return latents


def check(got: AV[Tensor], like: AV[Tensor], who: str) -> None:
    """Raises PartContractError where `got` hasn't the streams and shapes of `like`, RunError where it holds NaN or infinity."""
    want, have = ({s: list(av[s].shape) for s in av} for av in (like, got))
    if have != want:
        raise PartContractError(f"{who} returned {have}; it should be {want}")
    for stream in got:
        if not torch.isfinite(got[stream]).all():
            raise RunError(f"{who} returned NaN or infinity for {stream}: check its inputs, take a higher precision or a lower scale")


def _uniform(latents: Tensor, time: float | None) -> Times:
    values = torch.full((len(latents),), time or 0.0, dtype=torch.promote_types(latents.dtype, torch.float32), device=latents.device)
    return Times.uniform(values, latents.shape[1])
