"""Paths, shifts, densities and solvers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import AV
from harmony_parts.errors import PartContractError
from harmony_parts.flow.adams_bashforth import AdamsBashforth
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.heun import Heun
from harmony_parts.flow.logit_normal import LogitNormal
from harmony_parts.flow.protocol import Shift, Solver
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.flow.uniform import Uniform
from harmony_parts.flow.unipc import UniPC
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.contracts.flow import (
    check_density,
    check_path,
    check_shift,
    check_solver,
)

UNIT = st.floats(0, 1)
SCALES = st.floats(0.05, 20)
TWELVE_AND_THREE = StreamShifts(ConstantShift(12.0), ConstantShift(3.0))


def column(steps: int, shift: Shift, stream: str = "video") -> list[float]:
    """The times of one stream."""
    return [times[stream] for times in timetable(steps, shift)]


def test_built_in_parts_keep_their_contracts() -> None:
    """The built-in parts pass the contract checks."""
    check_path(StraightPath())
    for shift in (1.0, 5.0, 0.2, 12.0):
        check_shift(ConstantShift(shift))
    for density in (Uniform(), LogitNormal(), LogitNormal(mean=-0.5, std=0.7)):
        check_density(density)
    for solver in (Euler(), Heun(), AdamsBashforth(), UniPC()):
        check_solver(solver)


@given(UNIT, st.integers(0, 99))
def test_data_and_noise_are_recovered_from_the_velocity(t: float, seed: int) -> None:
    """x = x_t - t v and n = x_t + (1 - t) v, to the rounding of three operations on numbers < 8."""
    random = torch.Generator().manual_seed(seed)
    data, noise = torch.randn(2, 5, dtype=torch.float64, generator=random)
    path, time = StraightPath(), torch.tensor(t, dtype=torch.float64)
    x, velocity = path.interpolate(data, noise, time), path.velocity(data, noise, time)
    bound = 16 * torch.finfo(torch.float64).eps * 8
    assert (path.data(x, velocity, time) - data).abs().max() < bound
    assert (x + (1 - t) * velocity - noise).abs().max() < bound


@given(st.lists(UNIT, min_size=1, max_size=8))
def test_a_shift_of_1_is_the_identity(times: list[float]) -> None:
    t = torch.tensor(times, dtype=torch.float64)
    assert torch.equal(ConstantShift(1.0)(t), t)
    assert torch.equal(ConstantShift(1.0)(t.float()), t.float())


@given(UNIT, SCALES, SCALES)
def test_composed_shifts_multiply(t: float, a: float, b: float) -> None:
    """shift(a) after shift(b) is shift(ab), and shift(1/a) undoes shift(a)."""
    time = torch.tensor(t, dtype=torch.float64)
    # 1 + (s - 1) t cancels down to s, and so does the derivative: a factor of 1 / s for each s < 1
    few = 16 * 2**-53
    both = few * max(1, 1 / a) * max(1, 1 / b)
    twice, once = ConstantShift(a)(ConstantShift(b)(time)), ConstantShift(a * b)(time)
    assert torch.allclose(twice, once, rtol=both, atol=0)
    back = ConstantShift(1 / a)(ConstantShift(a)(time))
    assert torch.allclose(back, time, rtol=few * max(a, 1 / a), atol=0)


@given(UNIT, SCALES)
def test_the_shift_computes_the_equation_of_the_paper(t: float, s: float) -> None:
    want = s * t / (1 + (s - 1) * t)
    assert math.isclose(
        float(ConstantShift(s)(torch.tensor(t, dtype=torch.float64))),
        want,
        rel_tol=1e-12,
        abs_tol=0,
    )


@given(UNIT, UNIT, SCALES)
def test_the_shift_is_increasing_and_moves_towards_noise(t: float, u: float, s: float) -> None:
    low, high = sorted((t, u))
    shifted = ConstantShift(s)(torch.tensor([low, high], dtype=torch.float64))
    assert shifted[0] <= shifted[1]
    assert (shifted[1] >= high * (1 - 1e-15)) if s >= 1 else (shifted[1] <= high * (1 + 1e-15))


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_invalid_shifts_and_densities_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="shift"):
        ConstantShift(bad)
    with pytest.raises(ValueError, match="std"):
        LogitNormal(std=bad)


@given(st.integers(1, 60), SCALES)
def test_a_timetable_decreases_from_1_to_0(steps: int, s: float) -> None:
    table = column(steps, ConstantShift(s))
    assert (len(table), table[0], table[-1]) == (steps + 1, 1.0, 0.0)
    assert table == sorted(table, reverse=True)
    assert len(set(table)) == len(table)


def test_a_timetable_has_shifted_even_steps() -> None:
    """Times are exact to float64; errors of float32 would change the last digits of a clip."""
    even = [1 - k / 40 for k in range(41)]
    assert column(40, ConstantShift(5.0)) == pytest.approx(
        [5 * t / (1 + 4 * t) for t in even], abs=1e-15
    )


def test_a_timetable_refuses_invalid_steps_and_shifts() -> None:
    @attrs.frozen
    class Bad:
        how: Callable[[torch.Tensor], torch.Tensor]

        def __call__(self, t: torch.Tensor) -> torch.Tensor:
            return self.how(t)

    for steps in (0, -1, 1.5):
        with pytest.raises(
            ValueError, match=f"steps must be a whole number of at least 1, not {steps}"
        ):
            timetable(steps, ConstantShift())
    for how in (
        lambda t: 1 - t,
        lambda t: 0.9 * t,  # from 0.9 to 0
        lambda t: 0.1 + 0.9 * t,  # from 1 to 0.1
        lambda t: t[::2],
        lambda t: t + torch.sin(2 * math.pi * t) * t.gt(0) * t.lt(1),  # not monotone
        lambda t: t.round(),  # constant in places
    ):
        with pytest.raises(
            PartContractError, match=r"Bad.* must be an increasing map .* maps 4 even steps to \["
        ):
            timetable(4, Bad(how))


def test_densities_have_the_expected_moments() -> None:
    """Means of 200,000 draws within five standard errors; for the logit-normal, of the logits."""
    n = 200_000
    uniform = Uniform().draw(n, torch.Generator().manual_seed(0)).double()
    assert abs(uniform.mean() - 0.5) < 5 * math.sqrt(1 / 12 / n)
    logits = (
        LogitNormal(mean=0.4, std=1.5).draw(n, torch.Generator().manual_seed(0)).double().logit()
    )
    assert abs(logits.mean() - 0.4) < 5 * 1.5 / math.sqrt(n)
    assert abs(logits.std() - 1.5) < 5 * 1.5 / math.sqrt(2 * n)


@given(st.integers(1, 12), st.floats(-3, 3), st.floats(-3, 3))
def test_euler_is_exact_for_constant_velocities(steps: int, start: float, velocity: float) -> None:
    x, end = AV(torch.tensor([start], dtype=torch.float64), torch.zeros(1)), start - velocity
    for times, next_times in pairwise(timetable(steps, ConstantShift(3.0), given=("audio",))):
        x, _ = Euler().step(
            x, times, next_times, lambda at, _: AV(video=torch.full_like(at["video"], velocity))
        )
    assert abs(float(x["video"]) - end) < 1e-14 * (steps + 2) * 8
    assert torch.equal(x["audio"], torch.zeros(1))


@given(st.integers(1, 30), SCALES, SCALES, st.floats(-3, 3), st.floats(-3, 3))
def test_adams_bashforth_is_exact_for_linear_velocities(
    steps: int, shift: float, other: float, a: float, b: float
) -> None:
    """dx/dt = a + b t is exact for steps of any length, except for the first, which is Euler's.

    With the times of each stream.
    """
    x, memory = AV(*torch.zeros(2, 1, dtype=torch.float64)), None
    table = timetable(steps, StreamShifts(ConstantShift(shift), ConstantShift(other)))
    for times, next_times in pairwise(table):
        x, memory = AdamsBashforth().step(
            x,
            times,
            next_times,
            lambda _, times: times.map(lambda t: torch.tensor([a + b * t], dtype=torch.float64)),
            memory,
        )
    for stream in x:
        # the error of Euler's step: the integral of b (1 - t) from table[1] to 1
        first = b * (1 - table[1][stream]) ** 2 / 2
        assert abs(float(x[stream]) - (-a - b / 2 - first)) < 1e-11


@pytest.mark.parametrize(
    ("solver", "velocities", "order"),
    [(Euler(), 8, 1), (Heun(), 15, 2), (AdamsBashforth(), 8, 2), (UniPC(), 8, 2)],
    ids=repr,
)
def test_number_of_velocities_of_eight_steps(solver: Solver, velocities: int, order: int) -> None:
    """Heun's last step evaluates one velocity, since there is none at time 0.

    The contract checks that the order is reached; this test, that it isn't declared too low.
    """
    assert solver.order == order
    evaluated: list[AV[float]] = []

    def velocity(x: AV[torch.Tensor], times: AV[float]) -> AV[torch.Tensor]:
        evaluated.append(times)
        return x

    x, memory = AV(torch.ones(1), torch.ones(1)), None
    for times, next_times in pairwise(timetable(8, TWELVE_AND_THREE)):
        x, memory = solver.step(x, times, next_times, velocity, memory)
    assert len(evaluated) == velocities
    assert min(times[stream] for times in evaluated for stream in times) > 0


def test_contract_checks_find_faults() -> None:
    """Each part has one fault."""

    @attrs.frozen
    class Wrong(StraightPath):
        def data(self, x, velocity, t):
            return x + t * velocity

    @attrs.frozen
    class SecondOrder(Euler):
        order = 2

    @attrs.frozen
    class MovesGiven(Euler):
        def step(self, x, times, next_times, velocity, memory=None):
            moved, memory = Euler.step(self, x, times, next_times, velocity, memory)
            return moved.replace(audio=moved["audio"] * (1 if times["audio"] else 1.001)), memory

    @attrs.frozen
    class WantsAll(Euler):
        def step(self, x, times, next_times, velocity, memory=None):
            return velocity(x, times).map(
                lambda v, each, t, t_next: each + (t_next - t) * v, x, times, next_times
            ), memory

    @attrs.frozen
    class Forgets(Euler):
        def step(self, x, times, next_times, velocity, memory=None):
            return Euler.step(self, x, times, next_times, velocity, memory)[0]

    @attrs.frozen
    class OneStepForBoth(Euler):
        """Moves the audio by the difference of the video's times."""

        def step(self, x, times, next_times, velocity, memory=None):
            if times["audio"]:
                next_times = next_times.replace(
                    audio=times["audio"] + next_times["video"] - times["video"]
                )
            return Euler.step(self, x, times, next_times, velocity, memory)

    @attrs.frozen
    class OneTimeForBoth(Euler):
        """Evaluates both velocities at the video's time."""

        def step(self, x, times, next_times, velocity, memory=None):
            return Euler.step(
                self,
                x,
                times,
                next_times,
                lambda x, t: velocity(x, AV(t["video"], t["video"])),
                memory,
            )

    @attrs.frozen
    class Global:
        def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
            return torch.rand(n)

    for check, part, about in (
        (check_path, Wrong(), "recover the data"),
        (check_solver, SecondOrder(), "be of order 2"),
        (check_solver, MovesGiven(), "not change streams without a velocity"),
        (check_solver, WantsAll(), "return streams without a velocity"),
        (check_solver, Forgets(), "return x, memory"),
        (check_solver, OneStepForBoth(), "move audio by the difference of its own times"),
        (check_solver, OneTimeForBoth(), "be of order 1"),
        (check_density, Global(), "generator"),
        (check_shift, lambda t: t**2 + 0.01, "map 0 to 0 and 1 to 1"),
        (check_shift, lambda t: t.double(), "dtype"),
    ):
        with pytest.raises(PartContractError, match=about):
            check(part)


def test_unipc_counts_time_1_as_diffusers_does() -> None:
    """lambda is infinite there; the second step from it uses that of time 1 - 1e-6."""
    logarithm = {t: math.log((1 - t) / t) for t in (1 - 1e-6, 0.6, 0.3)}
    velocities = iter((0.5, -0.25))
    x: AV[torch.Tensor] = AV(torch.ones(1, dtype=torch.float64))
    memory = None
    for t, after in ((1.0, 0.6), (0.6, 0.3)):
        v = next(velocities)
        x, memory = UniPC().step(
            x, AV(t), AV(after), lambda x, _, v=v: x.map(lambda at: torch.full_like(at, v)), memory
        )
    first = 1.0 - 0.5
    second = (0.6 + 0.4 * first) - 0.6 * -0.25
    corrected = 0.6 + 0.4 * (first + second) / 2
    r = (logarithm[1 - 1e-6] - logarithm[0.6]) / (logarithm[0.3] - logarithm[0.6])
    data = second + (first - second) / (2 * r)
    assert x["video"].item() == pytest.approx(0.5 * corrected + 0.5 * data, rel=1e-9)
