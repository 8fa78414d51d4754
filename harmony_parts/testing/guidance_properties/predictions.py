"""Properties of the result as a function of the predictions and scales."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import CONDITIONAL, LATENTS, Guidance, StepTimes, conditional
from harmony_parts.testing.contracts.guidance import switched_off
from harmony_parts.testing.guidance_properties.inner import scales
from harmony_parts.testing.guidance_properties.property import (
    Property,
    all_steps,
    conditional_of,
    near,
    same,
)
from harmony_parts.testing.guidance_walks import Change, Walk, WalkStep, results, steps


def _off(guidance: Guidance, walk: Walk) -> bool:
    return all(
        step.passes == [conditional(step.times)] and same(step.result, conditional_of(step))
        for step in steps(switched_off(guidance), walk)
    )


def _zero(guidance: Any, walk: Walk) -> bool:
    def is_negative(step: WalkStep, stream: str) -> bool:
        others = [
            v[stream]
            for name, v in step.preds.items()
            if name not in (CONDITIONAL, LATENTS) and stream in tuple(v)
        ]
        return any(
            torch.equal(step.result[stream], v) for v in others or [step.preds[CONDITIONAL][stream]]
        )

    zero = attrs.evolve(guidance, **dict.fromkeys(scales(guidance), 0.0))
    return all(is_negative(step, stream) for step in steps(zero, walk) for stream in step.result)


def _fixed_point(guidance: Guidance, walk: Walk) -> bool:
    agreed: Change = lambda name, stream, v: (  # noqa: E731
        v if name == LATENTS else walk.values(0, "agreed", stream)
    )
    return all(near(step.result, conditional_of(step)) for step in steps(guidance, walk, agreed))


def _affine(guidance: Guidance, walk: Walk) -> bool:
    a = 2.5 if walk.seed % 2 else -0.7

    def moved(stream: str, v: Tensor) -> Tensor:
        return a * v + walk.values(0, "offset", stream)

    want = [AV(**{s: moved(s, v[s]) for s in v}) for v in results(guidance, walk)]
    return all_steps(
        near,
        results(guidance, walk, lambda name, stream, v: v if name == LATENTS else moved(stream, v)),
        want,
    )


def _homogeneous(guidance: Guidance, walk: Walk) -> bool:
    a = 2.5 if walk.seed % 2 else -0.7
    return all_steps(
        near,
        results(guidance, walk, lambda name, stream, v: a * v),
        [v.map(lambda v: a * v) for v in results(guidance, walk)],
    )


def _space(guidance: Guidance, walk: Walk) -> bool:
    in_velocities, in_estimates = list(steps(guidance, walk)), []
    for number, step in enumerate(in_velocities):
        x, state = step.preds[LATENTS], in_velocities[number - 1].state if number else None
        estimates = {
            name: v if name == LATENTS else _clean(v, x, step.times)
            for name, v in step.preds.items()
        }
        in_estimates.append(guidance.combine(estimates, step.times, state)[0])
    return all(
        near(got, _clean(step.result, step.preds[LATENTS], step.times))
        for got, step in zip(in_estimates, in_velocities, strict=True)
    )


def _clean(velocity: AV[Tensor], x: AV[Tensor], times: StepTimes) -> AV[Tensor]:
    return velocity.map(lambda v, x, t: x - t * v, x, AV(times.video, times.audio))


def _batch(guidance: Guidance, walk: Walk) -> bool:
    rows = [walk.samples - 1, 0, 0]
    return all_steps(
        near,
        results(guidance, walk, lambda name, stream, v: v[rows]),
        [v.map(lambda v: v[rows]) for v in results(guidance, walk)],
    )


def _tokens(guidance: Guidance, walk: Walk) -> bool:
    def permuted(v: Tensor) -> Tensor:
        flat = v.flatten(1, -2)
        order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(walk.seed))
        return flat[:, order].reshape(v.shape)

    want = [v.map(permuted) for v in results(guidance, walk)]
    return all_steps(near, results(guidance, walk, lambda name, stream, v: permuted(v)), want)


PROPERTIES = (
    Property(
        "off",
        "request only conditional(times) and return it bit for bit at its off values",
        _off,
        lambda guidance: switched_off(guidance) is not None,
    ),
    Property(
        "zero",
        "return its negative prediction bit for bit at scales of 0",
        _zero,
        lambda guidance: bool(scales(guidance)),
    ),
    Property("fixed-point", "return the conditional prediction if all passes agree", _fixed_point),
    Property("affine", "scale and shift its result like all predictions", _affine),
    Property("homogeneous", "scale its result like the latents and all predictions", _homogeneous),
    Property("space", "guide clean estimates x_t - t v as it guides velocities", _space),
    Property("batch", "guide samples independently", _batch),
    Property("tokens", "not depend on the positions of latents", _tokens),
)
