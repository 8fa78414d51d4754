"""A property of guidance, which hypothesis tries to refute, and comparisons of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch
from hypothesis import HealthCheck, given, settings

from harmony_parts.av import AV
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.protocol import CONDITIONAL, Guidance
from harmony_parts.testing.guidance_walks import Walk, WalkStep, steps, walks

Check = Callable[[Any, Walk], bool]


def always(guidance: Any) -> bool:
    """The property applies to every guidance."""
    return True


@attrs.frozen
class Property:
    """A property that guidances must have.

    `must` completes the sentence "a guidance must ...". `check(guidance, walk)` tells whether it
    holds on a walk; `applies(guidance)` whether the guidance has the settings that it is about.
    """

    name: str
    must: str
    check: Check
    applies: Callable[[Any], bool] = always

    def __call__(self, guidance: Guidance, examples: int = 15) -> None:
        """Search `examples` walks for one on which the property doesn't hold.

        Raises PartContractError, which names guidance, property and walk, if there is one.
        """

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(walks())
        def holds(walk: Walk) -> None:
            if not self.check(guidance, walk):
                raise PartContractError(
                    f"{guidance!r} must {self.must} (the property {self.name!r}); it doesn't on"
                    f" {walk}. {_requested(guidance, walk)}. A guidance that can't have this"
                    f" property says so: exempt = {{{self.name!r}: REASON}}"
                )

        holds()


def _requested(guidance: Guidance, walk: Walk) -> str:
    """The passes of the walk's first step, and what came of them, for an error message."""
    step = next(steps(guidance, walk))
    passes = ", ".join(f"{each.name!r} (reads {' and '.join(each.read)})" for each in step.passes)
    sizes = ", ".join(
        f"{stream} of mean size {step.result[stream].abs().mean():.3g} instead of"
        f" {conditional_of(step)[stream].abs().mean():.3g} (conditional)"
        for stream in step.result
    )
    return f"At the first step it requested {passes} and returned {sizes}"


def same(a: AV[torch.Tensor], b: AV[torch.Tensor]) -> bool:
    """Equal bit for bit, except for the sign of zeros."""
    return tuple(a) == tuple(b) and all(torch.equal(a[s], b[s]) for s in a)


def near(a: AV[torch.Tensor], b: AV[torch.Tensor]) -> bool:
    """Equal to the rounding of a few dozen float64 operations, for scales up to a hundred."""
    return tuple(a) == tuple(b) and all(
        a[s].shape == b[s].shape
        and bool(((a[s] - b[s]).abs() <= 1e-10 * (1 + a[s].abs().max() + b[s].abs().max())).all())
        for s in a
    )


def all_steps(
    equal: Callable[[AV[torch.Tensor], AV[torch.Tensor]], bool],
    a: list[AV[torch.Tensor]],
    b: list[AV[torch.Tensor]],
) -> bool:
    """Whether the results of two walks are `equal` at every step."""
    return len(a) == len(b) and all(map(equal, a, b))


def conditional_of(step: WalkStep) -> AV[torch.Tensor]:
    """The conditional prediction of a step."""
    return step.preds[CONDITIONAL].only(step.times.generated())
