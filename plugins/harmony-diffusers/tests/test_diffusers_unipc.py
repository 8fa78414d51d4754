"""The solver `unipc` against diffusers' scheduler of the same method."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_parts.av import AV
from harmony_parts.flow.adams_bashforth import AdamsBashforth
from harmony_parts.flow.unipc import LATEST, UniPC


def theirs(shift: float, steps: int) -> UniPCMultistepScheduler:
    """As Wan, Ovi and Cosmos3 have it, in float64, with times that aren't cut to whole numbers."""
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )
    scheduler.set_timesteps(steps)
    scheduler.sigmas = scheduler.sigmas.double()
    assert float(scheduler.sigmas[0]) == pytest.approx(LATEST, abs=1e-7)
    scheduler.sigmas[0] = LATEST
    return scheduler


def field(x: torch.Tensor, t: float, other: torch.Tensor) -> torch.Tensor:
    """A velocity that isn't linear, and depends on the other stream's latents."""
    return torch.sin(3 * x) + t * other.mean() - x * t**2


def largest_difference(solver: UniPC | AdamsBashforth, shifts: AV[float], steps: int) -> float:
    """Over all steps of a run of two streams that read each other, each at its own times."""
    schedulers = shifts.map(lambda shift: theirs(shift, steps))
    tables = schedulers.map(lambda scheduler: scheduler.sigmas.tolist())
    random = torch.Generator().manual_seed(0)
    x = AV(*torch.randn(2, 1, 3, 4, dtype=torch.float64, generator=random))
    want, memory, worst = x, None, 0.0
    for k, k_next in pairwise(range(steps + 1)):
        x, memory = solver.step(
            x,
            tables.map(lambda table: table[k]),  # noqa: B023
            tables.map(lambda table: table[k_next]),  # noqa: B023
            lambda x, t: AV(
                field(x["video"], t["video"], x["audio"]), field(x["audio"], t["audio"], x["video"])
            ),
            memory,
        )
        v = AV(
            field(want["video"], tables["video"][k], want["audio"]),
            field(want["audio"], tables["audio"][k], want["video"]),
        )
        want = v.map(
            lambda v, each, scheduler: (
                scheduler.step(
                    v,
                    scheduler.timesteps[k],  # noqa: B023
                    each,
                ).prev_sample
            ),
            want,
            schedulers,
        )
        worst = max(worst, *(float((x[s] - want[s]).abs().max()) for s in x))
    return worst


@settings(deadline=None, derandomize=True, max_examples=30)
@given(video=st.floats(0.3, 15), audio=st.floats(0.3, 15), steps=st.integers(1, 40))
def test_every_step_equals_the_schedulers(video, audio, steps):
    """In float64, for equal and unequal times of the streams."""
    assert largest_difference(UniPC(), AV(video, audio), steps) < 1e-11


def test_another_solver_differs():
    """The comparison can fail."""
    assert largest_difference(AdamsBashforth(), AV(5.0, 5.0), 10) > 1e-3
