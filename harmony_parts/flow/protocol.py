"""The flow: the path between data and noise, its training and sampling times, and the solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from harmony_parts.av import AV


class Path(Protocol):
    """A path from data (time 0) to noise (time 1). Stateless: it is its own spec.

    `t` broadcasts against the latents.
    """

    def interpolate(self, data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noisy latents x_t."""

    def velocity(self, data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The velocity dx_t/dt, which a denoiser predicts."""

    def data(self, x: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
        """The estimate of the clean latents from x_t and a velocity."""


class Density(Protocol):
    """The density of training times before the shift. Stateless: it is its own spec."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Times, float32 [n] in [0, 1]."""


class Shift(Protocol):
    """An increasing map of [0, 1] onto itself that moves sampling or training times towards noise
    (or data). Stateless: it is its own spec.
    """

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the same shape; 0 stays 0 and 1 stays 1."""


@runtime_checkable
class StepDependentShift(Shift, Protocol):
    """A shift that depends on the number of sampling steps.

    The sampler calls `for_steps`; training, which has no sampling steps, calls the shift itself.
    """

    def for_steps(self, steps: int) -> Shift:
        """The shift for a run of that many steps. Same number, equal shift."""


Velocity = Callable[[AV[Tensor], AV[float]], AV[Tensor]]
"""`velocity(x, times)` -> dx/dt of each generated stream, with the time of each stream."""


class Solver(Protocol):
    """A solver of ordinary differential equations. Stateless: a step gets the previous `memory`.

    Each stream s has its own time: dx_s/dt_s = v_s(x, t), where t holds the times of all streams,
    which are functions of a common u. So along any such curve the equation of each stream is an
    ordinary one in its own time, and a method of order p for equal times is of order p.
    """

    order: int

    def step(
        self,
        x: AV[Tensor],
        times: AV[float],
        next_times: AV[float],
        velocity: Velocity,
        memory: Any = None,
    ) -> tuple[AV[Tensor], Any]:
        """x at `next_times` from x at `times`, and the memory for the next step.

        The next time of each generated stream is lower; they reach 0 together. A given stream stays
        at time 0 and unchanged: `velocity(x, times)` has no velocity of it. Velocities exist only
        at times above 0: a solver that evaluates the end of a step must not do so at time 0.
        """
