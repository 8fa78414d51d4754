"""Contract checks of paths, shifts, densities and solvers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.flow.protocol import Density, Path, Shift, Solver, StepDependentShift
from harmony_parts.testing.contracts.require import check_value, generator, own_randomness, require


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
        with own_randomness(density):
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

    It must not evaluate the velocity at time 0.
    """
    check_value(solver)

    def walk(steps: int, start: float, velocity: float | None) -> float:
        """Solve dx/dt = velocity (-x if `None`) from time 1 to 0, next to a given stream."""
        given = torch.ones(1, 2, 1, dtype=torch.float64)
        x: AV[Tensor] = AV(torch.full((1, 1, 1, 1, 1), start, dtype=torch.float64), given)

        def field(x: AV[Tensor], t: float) -> AV[Tensor]:
            require(
                0 < t <= 1,
                solver,
                f"evaluate velocities only at times above 0 and up to 1; it did at {t}",
            )
            return AV(
                torch.full_like(x["video"], velocity) if velocity is not None else -x["video"]
            )

        memory = None
        for k in range(steps):
            answer = solver.step(x, 1 - k / steps, 1 - (k + 1) / steps, field, memory)
            pair = isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], AV)
            require(pair, solver, "return the streams and its memory: return x, memory")
            x, memory = answer
            require("audio" in tuple(x), solver, "return streams without a velocity")
        require(
            torch.equal(x["audio"], torch.ones_like(given)),
            solver,
            "not change streams without a velocity",
        )
        return float(x["video"])

    require(
        math.isclose(walk(4, 3.0, 2.0), 1.0, abs_tol=1e-12),
        solver,
        "be exact for a constant velocity",
    )
    coarse, fine = (abs(walk(steps, 1.0, None) - math.e) for steps in (64, 128))  # x(0) = e x(1)
    require(
        fine < 1e-12 or math.log2(coarse / fine) > solver.order - 0.1,
        solver,
        f"be of order {solver.order}: on dx/dt = -x, half the step reduced the error from"
        f" {coarse:.3g} to {fine:.3g}",
    )
