"""Properties of state and precision: a guidance is pure and keeps nothing but its state."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from harmony_parts.guidance.protocol import LATENTS, Guidance
from harmony_parts.sample.passes import combined
from harmony_parts.testing.guidance_properties.property import Property, all_steps, same
from harmony_parts.testing.guidance_walks import FORMS, Walk, checked, results, steps


def _replay(guidance: Guidance, walk: Walk) -> bool:
    walked = list(steps(guidance, walk))
    for number, step in enumerate(walked):
        state = walked[number - 1].state if number else None
        original = walk.predictions(number, step.passes)
        if not same(guidance.combine(step.preds, step.times, state)[0], step.result):
            return False
        if (
            any(not same(step.preds[name], original[name]) for name in original)
            or checked(guidance, step.times, state) != step.passes
        ):
            return False
    return all_steps(same, results(guidance, walk), [step.result for step in walked])


def _interleaved(guidance: Guidance, walk: Walk) -> bool:
    other = attrs.evolve(walk, seed=walk.seed + 1)
    interleaved = list(zip(steps(guidance, walk), steps(guidance, other), strict=True))
    return all(
        all_steps(same, [pair[k].result for pair in interleaved], results(guidance, each))
        for k, each in enumerate((walk, other))
    )


def _bfloat16(guidance: Guidance, walk: Walk) -> bool:
    rough = attrs.evolve(walk, dtype=torch.bfloat16)
    dtypes = (torch.bfloat16, torch.float32, torch.float64)
    states: list[Any] = [None, None, None]
    for number, times in enumerate(walk.times):
        preds = rough.predictions(number, checked(guidance, times, states[0]))
        made = []
        for k, dtype in enumerate(dtypes):
            each = {name: v.map(lambda v: v.to(dtype)) for name, v in preds.items()}  # noqa: B023
            result, states[k] = combined(guidance, each, times, states[k], each[LATENTS])
            made.append(result)
        # The tolerance is that of a few dozen float32 operations on numbers below a hundred, 1e-5
        # of the maximum, far below bfloat16's 4e-3.
        close = all(
            ((made[1][s] - made[2][s]).abs() <= 1e-5 * (1 + made[2][s].abs().max())).all()
            for s in made[1]
        )
        if not close or not same(made[0], made[1].map(lambda v: v.bfloat16())):
            return False
    return True


def _finite(guidance: Guidance, walk: Walk) -> bool:
    return all(
        bool(torch.isfinite(v[stream]).all())
        for form in FORMS
        for v in results(guidance, attrs.evolve(walk, dtype=torch.float32, form=form))
        for stream in v
    )


PROPERTIES = (
    Property(
        "replay", "return the same again for the same inputs, and not change them in place", _replay
    ),
    Property(
        "interleaved",
        "keep nothing but its state: interleaved runs equal separate runs",
        _interleaved,
    ),
    Property(
        "bfloat16",
        "give its float32 result, rounded once, for bfloat16, and nearly its float64 result for"
        " float32",
        _bfloat16,
    ),
    Property(
        "finite", "stay finite for predictions of zeros, constants, tiny and huge numbers", _finite
    ),
)
