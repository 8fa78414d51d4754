"""The flow: the path between data and noise, the times at which it is trained, the times at which
it is walked, and how a step is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from harmony_parts.av import AV


class Path(Protocol):
    """From data (time 0) to noise (time 1). `t` broadcasts against the latents. Stateless: its own
    spec.
    """

    def interpolate(self, data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t."""

    def velocity(self, data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """dx_t/dt, what a denoiser predicts."""

    def data(self, x: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
        """The estimate of the clean latents from x_t and a velocity."""


class Density(Protocol):
    """How often each time is trained, before the shift. Stateless: its own spec."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """float32 [n] in [0, 1]."""


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


Velocity = Callable[[AV[Tensor], float], AV[Tensor]]


class Solver(Protocol):
    """One step of an ordinary differential equation solver. Stateless: what it must remember goes
    through `memory`.
    """

    order: int

    def step(
        self, x: AV[Tensor], t: float, t_next: float, velocity: Velocity, memory: Any = None
    ) -> tuple[AV[Tensor], Any]:
        """x at `t_next` (< `t`), from x at `t`. `velocity(x, t)` leaves out the streams that are
        given; those stay as they are.

        Velocities exist at times above 0 only, where there is noise left: a solver that looks ahead
        leaves its last look, at time 0, out.
        """
