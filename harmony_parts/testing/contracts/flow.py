"""Contract checks of paths, shifts, densities and solvers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.flow.protocol import (
    Density,
    Path,
    Shift,
    Solver,
    StepDependentShift,
    Velocity,
)
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.contracts.require import (
    check_value,
    generator,
    no_global_randomness,
    require,
)

STEPS = (128, 256, 512, 1024, 2048)
"""Numbers of steps; from one to the next of them, a solver must be of its order.

Further ones are tried since it may only be reached with small steps, as that of UniPC is.
"""


def check_path(path: Path) -> None:
    """Data at time 0, noise at time 1, and the derivative as the velocity.

    The data are recovered from x_t and the velocity, and `t` broadcasts.
    """
    check_value(path)
    data, noise = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator())
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    require(
        torch.equal(path.interpolate(data, noise, zero), data),
        path,
        "interpolate to the data at time 0",
    )
    require(
        torch.equal(path.interpolate(data, noise, one), noise),
        path,
        "interpolate to the noise at time 1",
    )
    for t in torch.tensor([[0.1], [0.35], [0.8]], dtype=torch.float64):
        x, velocity = path.interpolate(data, noise, t), path.velocity(data, noise, t)
        h = 1e-5  # central difference: error h^2 |x'''| / 6 + eps / h, both far below the tolerance
        slope = (path.interpolate(data, noise, t + h) - path.interpolate(data, noise, t - h)) / (
            2 * h
        )
        at = f"(at time {float(t)})"
        require(
            torch.allclose(velocity, slope, atol=1e-7, rtol=1e-7),
            path,
            f"have the derivative of interpolate as its velocity {at}",
        )
        require(
            torch.allclose(path.data(x, velocity, t), data, atol=1e-12),
            path,
            f"recover the data from x_t and the velocity {at}",
        )
        require(
            torch.equal(path.data(x, velocity, float(t)), path.data(x, velocity, t)),
            path,
            "accept t as a number and as a tensor",
        )


def check_shift(shift: Shift) -> None:
    """An increasing map of [0, 1] onto itself, exact at both ends, in float32 and float64.

    If the shift depends on the number of sampling steps, so is the shift for 1, 2 and 30 steps.
    """
    check_value(shift)
    _check_shift(shift)
    if isinstance(shift, StepDependentShift):
        for steps in (1, 2, 30):
            resolved = shift.for_steps(steps)
            require(
                resolved == shift.for_steps(steps),
                shift,
                f"return equal shifts from repeated calls of for_steps({steps})",
            )
            _check_shift(resolved)


def _check_shift(shift: Shift) -> None:
    for dtype in (torch.float32, torch.float64):
        t = torch.linspace(0, 1, 101, dtype=dtype)
        shifted = shift(t)
        require(
            shifted.shape == t.shape and shifted.dtype == dtype,
            shift,
            "keep the shape and dtype of the times",
        )
        require(
            shifted[0] == 0 and shifted[-1] == 1,
            shift,
            f"map 0 to 0 and 1 to 1 exactly in {dtype}",
        )
        require((shifted.diff() > 0).all(), shift, "be increasing")
        require(
            torch.equal(shift(t.reshape(1, -1, 1)).flatten(), shifted),
            shift,
            "shift each time independently",
        )


def check_density(density: Density) -> None:
    """Times in [0, 1], float32 [n], that depend on the generator and only on it."""
    check_value(density)
    for n in (0, 1, 1000):
        with no_global_randomness(density):
            t = density.draw(n, generator())
        require(
            t.shape == (n,) and t.dtype == torch.float32,
            density,
            f"draw float32 [n]; it drew {t.dtype} {list(t.shape)} for n = {n}",
        )
        require(((t >= 0) & (t <= 1)).all(), density, "draw times in [0, 1]")
        require(
            torch.equal(t, density.draw(n, generator())),
            density,
            "draw the same times from the same generator state",
        )
    require(not torch.equal(t, density.draw(n, generator(1))), density, "draw from the generator")


def check_solver(solver: Solver) -> None:
    """Exact on straight paths, of its declared order, without effect on given streams.

    All of it with equal and with unequal shifts of the streams, on problems with known solutions.
    It must not evaluate the velocity at time 0.
    """
    check_value(solver)
    _check_constant_velocity(solver)
    for shift in (ConstantShift(1.0), StreamShifts(ConstantShift(3.0), ConstantShift(0.5))):
        for coupling in (None, 2.0):
            _check_order(solver, shift, coupling)


def _check_constant_velocity(solver: Solver) -> None:
    """One step and a whole run at velocities of 2 and -3, exact to rounding."""
    velocity = AV(_one(2.0), _one(-3.0))
    field = _checked_field(solver, lambda x, times: velocity)
    now, later = AV(0.9, 0.6), AV(0.5, 0.4)
    x, _ = _step(solver, AV(_one(3.0), _one(1.0)), now, later, field, None)
    want = AV(3.0 + (0.5 - 0.9) * 2.0, 1.0 + (0.4 - 0.6) * -3.0)
    for stream in want:
        exact = math.isclose(float(x[stream]), want[stream], abs_tol=1e-12)
        require(exact, solver, f"move {stream} by the difference of its own times")
    shifts = StreamShifts(ConstantShift(1.0), ConstantShift(4.0))
    end = _solve(solver, 4, shifts, AV(_one(3.0), _one(1.0)), field)
    exact = max(abs(float(end["video"]) - 1), abs(float(end["audio"]) - 4)) < 1e-12
    require(exact, solver, "be exact for a constant velocity")


def _check_order(solver: Solver, shift: Shift | StreamShifts, coupling: float | None) -> None:
    """Half the step, if small enough, reduces the error by 2^order, on the problem (k = coupling)

        dx/dt_x = -x + k (y - c(t_y)),   dy/dt_y = -2 t_y sin(t_y^2) + k (x - e(t_x))

    with the solution x = e(t_x) = exp(1 - t_x), y = c(t_y) = cos(t_y^2). With k = None, y is given.
    """

    def flow(x: AV[Tensor], times: AV[float]) -> AV[Tensor]:
        t_x, t_y = times["video"], times["audio"]
        if coupling is None:
            return AV(-x["video"])
        return AV(
            coupling * (x["audio"] - math.cos(t_y**2)) - x["video"],
            coupling * (x["video"] - math.exp(1 - t_x)) - 2 * t_y * math.sin(t_y**2),
        )

    field, start = _checked_field(solver, flow), AV(_one(1.0), _one(math.cos(1.0)))
    reached, fine = False, math.inf
    for steps in STEPS:
        end = _solve(solver, steps, shift, start, field, () if coupling else ("audio",))
        coarse, fine = fine, abs(float(end["video"]) - math.e)
        if coupling:
            fine = max(fine, abs(float(end["audio"]) - 1))
        else:
            unchanged = torch.equal(end["audio"], start["audio"])
            require(unchanged, solver, "not change streams without a velocity")
        reached = fine < 1e-12 or math.log2(coarse / fine) > solver.order - 0.1
        if reached and steps > STEPS[0]:
            break
    require(
        reached,
        solver,
        f"be of order {solver.order}: on dx/dt = -x{' and a coupled y' if coupling else ''}, with"
        f" {shift!r}, half the step reduced the error from {coarse:.3g} to {fine:.3g}",
    )


def _one(value: float) -> Tensor:
    return torch.full((1, 1, 1), value, dtype=torch.float64)


def _checked_field(solver: Solver, field: Velocity) -> Velocity:
    """The velocity field, which refuses times outside of (0, 1] of the streams that it moves."""

    def checked(x: AV[Tensor], times: AV[float]) -> AV[Tensor]:
        velocity = field(x, times)
        for stream in velocity:
            t = times[stream]
            about = f"evaluate velocities only at times above 0 and up to 1; it did at {t}"
            require(0 < t <= 1, solver, about)
        return velocity

    return checked


def _step(
    solver: Solver, x: AV[Tensor], times: AV[float], next_times: AV[float], field: Velocity, m: Any
) -> tuple[AV[Tensor], Any]:
    answer = solver.step(x, times, next_times, field, m)
    pair = isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], AV)
    require(pair, solver, "return the streams and its memory: return x, memory")
    moved, memory = answer
    require(tuple(moved) == tuple(x), solver, "return streams without a velocity")
    return moved, memory


def _solve(
    solver: Solver,
    steps: int,
    shift: Shift | StreamShifts,
    x: AV[Tensor],
    field: Velocity,
    given: tuple[str, ...] = (),
) -> AV[Tensor]:
    """x at time 0 from x at time 1; streams in `given` are at time 0 throughout."""
    memory = None
    for times, next_times in pairwise(timetable(steps, shift, given=given)):
        x, memory = _step(solver, x, times, next_times, field, memory)
    return x
