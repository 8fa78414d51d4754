"""The sampler reaches Gaussian data x ~ N(m, C), for which noise n leads to x = m + C^(1/2) n."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from helpers.gaussian_sampling import V, error, root
from helpers.toy_guidance import (
    AUDIO,
    SIZE,
    SYNC,
    VIDEO,
    caption,
    flat,
    gaussian,
    latents,
    make,
)
from torch import Tensor

from harmony_parts.av import AV, Times
from harmony_parts.flow.adams_bashforth import AdamsBashforth
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.heun import Heun
from harmony_parts.flow.protocol import Solver
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.flow.unipc import UniPC
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.data_space import DataSpace
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.schedule import Schedule
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.window import Window
from harmony_parts.sample.sampler import Step
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.gaussian_denoiser import GaussianDenoiser

UNEQUAL = (
    StreamShifts(ConstantShift(12.0), ConstantShift(3.0)),
    StreamShifts(ConstantShift(1.0), ConstantShift(5.0)),
)


def test_the_velocity_of_gaussian_data_matches_a_regression() -> None:
    """E[n - x | x_t] equals the linear regression on 400,000 samples.

    Five standard errors are 0.02.
    """
    model, t = gaussian(), 0.6
    random = torch.Generator().manual_seed(0)
    data = model.mean + torch.randn(400_000, SIZE, dtype=torch.float64, generator=random) @ root(
        model.covariance
    )
    noise = torch.randn(400_000, SIZE, dtype=torch.float64, generator=random)
    seen = torch.cat(
        [(1 - t) * data + t * noise, torch.ones(400_000, 1, dtype=torch.float64)], dim=1
    )
    weights = torch.linalg.lstsq(seen, noise - data).solution
    x = latents(3)
    times = AV(
        *(
            Times.uniform(torch.full((3,), t, dtype=torch.float64), shape[0])
            for shape in (VIDEO, AUDIO)
        )
    )
    want = torch.cat([flat(x), torch.ones(3, 1, dtype=torch.float64)], dim=1) @ weights
    assert torch.allclose(flat(model(x, times, {})), want, atol=0.02)


def test_joint_generation_reaches_the_data() -> None:
    """x = m + C^(1/2) n, to first order in the step; a caption shifts the mean."""
    model, noise, conditions = gaussian(), latents(), caption()
    want = model.mean + flat(noise) @ root(model.covariance)
    coarse, fine = error(100, model, noise, want), error(200, model, noise, want)
    assert fine < 0.05
    assert 1.8 < coarse / fine < 2.2
    assert (
        error(200, model, noise, want + conditions["caption"].tokens[:, 0], conditions=conditions)
        < 0.05
    )


@pytest.mark.parametrize("generated", ["video", "audio"])
def test_driven_generation_reaches_the_conditional_distribution(generated: str) -> None:
    """x | y ~ N(m_x + C_xy C_yy^-1 (y - m_y), C_xx - C_xy C_yy^-1 C_yx)."""
    model, noise, given = gaussian(), latents(seed=3).only((generated,)), latents(seed=4)
    given = given.replace(**{generated: None})
    x, y = (slice(V), slice(V, None)) if generated == "video" else (slice(V, None), slice(V))
    c, m = model.covariance, model.mean
    gain = c[x, y] @ torch.linalg.inv(c[y, y])
    want = m[x] + (flat(given) - m[y]) @ gain.T + flat(noise) @ root(c[x, x] - gain @ c[y, x])
    coarse, fine = (
        error(100, model, noise, want, given=given),
        error(200, model, noise, want, given=given),
    )
    assert fine < 0.05
    assert 1.8 < coarse / fine < 2.2


@pytest.mark.parametrize("only", ["video", "audio"])
def test_a_single_stream_reaches_its_marginal(only: str) -> None:
    model, noise = gaussian(), latents().only((only,))
    of_stream = slice(V) if only == "video" else slice(V, None)
    want = model.mean[of_stream] + flat(noise) @ root(model.covariance[of_stream, of_stream])
    assert error(200, model, noise, want, guidance=SYNC) < 0.05
    assert tuple(make(model, noise)) == (only,)


@attrs.frozen
class Midpoint:
    """Two velocities per step."""

    order = 2

    def step(self, x, times, next_times, velocity, memory=None):
        moved, half = x, times.map(lambda t, t_next: (t + t_next) / 2, next_times)
        for at, until in ((times, half), (half, next_times)):
            v = velocity(moved, at)
            moved = x.replace(**{s: x[s] + (until[s] - times[s]) * v[s] for s in v})
        return moved, memory


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("solver", [Midpoint(), Heun(), AdamsBashforth(), UniPC()], ids=repr)
def test_second_order_solvers_converge_at_second_order(solver: Solver, shift: float) -> None:
    """Half the step leaves a quarter of the error, with even and with shifted times."""
    model, noise = gaussian(), latents()
    want = model.mean + flat(noise) @ root(model.covariance)
    errors = [
        error(steps, model, noise, want, solver=solver, shift=ConstantShift(shift))
        for steps in (80, 160)
    ]
    assert errors[1] < 1e-2
    assert errors[0] / errors[1] > 3.5


@pytest.mark.parametrize(
    "guidance", [CFG(), SYNC, Window(CFG(), 0, 1)], ids=lambda g: type(g).__name__
)
def test_solvers_agree_on_guided_velocities(guidance: Guidance) -> None:
    """The second-order solvers agree with each other far better than with Euler."""
    conditions, noise = caption(), latents()
    heun, adams, euler = (
        flat(make(gaussian(), noise, conditions, guidance=guidance, solver=solver, steps=80))
        for solver in (Heun(), AdamsBashforth(), Euler())
    )
    assert (heun - adams).abs().max() < (heun - euler).abs().max() / 5


def affine(steps: int, **settings: Any) -> tuple[Tensor, Tensor]:
    """The map of noise n to latents M n + c, which is affine: M [D, D] and c [D]."""
    points = torch.cat([torch.zeros(1, SIZE), torch.eye(SIZE)]).double()
    noise = AV(points[:, :V].reshape(-1, *VIDEO), points[:, V:].reshape(-1, *AUDIO))
    made = flat(make(gaussian(), noise, steps=steps, **settings))
    return (made[1:] - made[0]).T, made[0]


@pytest.mark.parametrize("shift", UNEQUAL, ids=repr)
@pytest.mark.parametrize(
    "solver", [Euler(), Midpoint(), Heun(), AdamsBashforth(), UniPC()], ids=repr
)
def test_unequal_times_reach_the_data_at_the_solver_s_order(solver: Solver, shift: StreamShifts):
    """M M^T = C and c = m: the distribution of the data, though M isn't C^(1/2) any more."""
    model = gaussian()
    errors = []
    few = 320 if isinstance(solver, UniPC) else 160  # whose order is reached later
    for steps in (few, 2 * few):
        m, c = affine(steps, solver=solver, shift=shift)
        errors.append(max((m @ m.T - model.covariance).abs().max(), (c - model.mean).abs().max()))
    assert errors[1] < (0.1 if solver.order == 1 else 5e-3)
    assert errors[0] / errors[1] > 2**solver.order * 0.9
    assert (m - root(model.covariance)).abs().max() > 0.1


def independent() -> GaussianDenoiser:
    """Data whose streams are independent of each other."""
    model = gaussian()
    model.covariance = torch.block_diag(model.covariance[:V, :V], model.covariance[V:, V:])
    return model


@pytest.mark.parametrize(
    "guidance",
    [
        NoGuidance(),
        CFG(),
        Window(CFG(), 0.4, 0.9),
        Schedule(Window(CFG(), 0.2, 1.0), (0, 3, 1)),
        DataSpace(Rescale(Sum((CFG(), Window(CFG(2, 2), 0.5, 0.8))))),
    ],
    ids=repr,
)
@pytest.mark.parametrize("solver", [Euler(), Heun(), AdamsBashforth(), UniPC()], ids=repr)
def test_independent_streams_are_sampled_as_if_alone(solver: Solver, guidance: Guidance) -> None:
    """Along their own times, and guided by them: as each stream by itself with its shift."""
    pair = StreamShifts(ConstantShift(12.0), ConstantShift(0.5))
    settings: dict[str, Any] = {"solver": solver, "guidance": guidance, "steps": 6}
    both = make(independent(), latents(), caption(), shift=pair, **settings)
    for s, shift in (("video", pair.video), ("audio", pair.audio)):
        alone = make(independent(), latents().only((s,)), caption(), shift=shift, **settings)
        assert torch.allclose(both[s], alone[s], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("generated", ["video", "audio"])
def test_a_driven_stream_depends_only_on_its_own_shift(generated: str) -> None:
    noise, given = latents(seed=3).only((generated,)), latents(seed=4)
    given = given.replace(**{generated: None})
    own = {"video": ConstantShift(12.0), "audio": ConstantShift(3.0)}
    for solver in (Euler(), Heun(), AdamsBashforth(), UniPC()):
        both, one = (
            make(gaussian(), noise, given=given, solver=solver, shift=shift)
            for shift in (StreamShifts(**own), own[generated])
        )
        assert torch.equal(both[generated], one[generated])


@pytest.mark.parametrize("solver", [Euler(), Heun(), AdamsBashforth(), UniPC()], ids=repr)
@pytest.mark.parametrize(
    "guidance",
    [NoGuidance(), CFG(), SYNC, Window(Sum((CFG(), SYNC))), Schedule(CFG()), DataSpace(Rescale())],
    ids=repr,
)
def test_two_equal_shifts_are_one_shift(solver: Solver, guidance: Guidance) -> None:
    """Bit for bit."""
    one = ConstantShift(5.0)
    made = [
        flat(make(gaussian(), latents(), caption(), guidance=guidance, solver=solver, shift=shift))
        for shift in (one, StreamShifts(one, one))
    ]
    assert torch.equal(*made)


@pytest.mark.parametrize("shift", [ConstantShift(3.0), *UNEQUAL], ids=repr)
@pytest.mark.parametrize("solver", [Euler(), Heun(), AdamsBashforth(), UniPC()], ids=repr)
def test_a_step_s_estimate_is_the_expected_data(solver: Solver, shift: Any) -> None:
    """For N(m, C) it is E[x | x_t] = m + C A (A C A + S^2)^-1 (x_t - A m), with A = 1 - t and S = t
    of each latent.
    """
    model, noise, seen = gaussian(), latents(), list[Step]()
    make(model, noise, steps=4, solver=solver, shift=shift, progress=seen.append)
    for x, times, step in zip(
        [noise, *(step.latents for step in seen)], timetable(4, shift), seen[:-1], strict=False
    ):
        c, m = model.covariance, model.mean
        t = torch.tensor([times["video"]] * V + [times["audio"]] * (SIZE - V)).double()
        a, s = torch.diag(1 - t), torch.diag(t)
        gain = c @ a @ torch.linalg.inv(a @ c @ a + s @ s)
        assert torch.allclose(flat(step.estimate), m + (flat(x) - m @ a) @ gain.T, atol=1e-10)
    given = noise.only(("audio",))
    make(model, noise.only(("video",)), given=given, steps=2, solver=solver, progress=seen.append)
    assert seen[-2].estimate.audio is given.audio
