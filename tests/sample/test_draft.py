"""Sampling that starts from a draft with noise, of one stream or both."""

from __future__ import annotations

import pytest
import torch
from helpers.gaussian_sampling import root
from helpers.toy_guidance import SYNC, caption, flat, gaussian, latents, make
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.flow.adams_bashforth import AdamsBashforth
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.heun import Heun
from harmony_parts.flow.protocol import Shift, Solver
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.flow.unipc import UniPC
from harmony_parts.sample.sampler import Step
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.gaussian_denoiser import Recorded

PAIR = StreamShifts(ConstantShift(9.0), ConstantShift(2.0))
SOLVERS = (Euler(), Heun(), AdamsBashforth(), UniPC())
STREAMS = [("video", "audio"), ("video",), ("audio",)]


def draft(seed: int = 9) -> AV[Tensor]:
    return latents(seed=seed)


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_with_only_noise_the_draft_is_forgotten(solver: Solver) -> None:
    """Bit for bit, with guidance; and with less noise it isn't."""
    plain = make(gaussian(), latents(), caption(), guidance=SYNC, solver=solver, shift=PAIR)

    def changed(strength: float) -> Tensor:
        settings = {"guidance": SYNC, "solver": solver, "shift": PAIR, "strength": strength}
        return flat(make(gaussian(), latents(), caption(), draft=draft(), **settings))

    assert torch.equal(changed(1.0), flat(plain))
    assert not torch.allclose(changed(0.9), flat(plain), atol=0.01)
    torch.testing.assert_close(changed(1e-6), flat(draft()), rtol=0, atol=1e-4)


@pytest.mark.parametrize("strength", [0.25, 0.7])
def test_the_draft_moves_with_the_flow_of_the_data(strength: float) -> None:
    """Latents of Gaussian data have mean (1 - t) m and covariance (1 - t)^2 C + t^2 I at time t, so
    the flow from there leads to m + C^(1/2) ((1 - t)^2 C + t^2 I)^(-1/2) (x_t - (1 - t) m).

    The error of Heun's method falls with the square of the step.
    """
    model, s = gaussian(), strength
    started = (1 - s) * flat(draft()) + s * flat(latents())
    spread = (1 - s) ** 2 * model.covariance + s**2 * torch.eye(len(model.mean)).double()
    whiten = root(model.covariance) @ torch.linalg.inv(root(spread))
    want = model.mean + (started - (1 - s) * model.mean) @ whiten.T
    errors = [
        float(
            (
                flat(
                    make(
                        model,
                        latents(),
                        draft=draft(),
                        strength=s,
                        solver=Heun(),
                        steps=steps,
                    )
                )
                - want
            )
            .abs()
            .max()
        )
        for steps in (16, 32)
    ]
    assert errors[1] < 5e-3
    assert errors[1] < errors[0] / 3


@pytest.mark.parametrize("streams", STREAMS, ids=str)
def test_each_stream_starts_at_its_own_time(streams: tuple[str, ...]) -> None:
    """One without a draft at noise; a given one stays at time 0."""
    seen: list[Step] = []
    for given_stream in ((), *((s,) for s in ("video", "audio") if (s,) != streams)):
        mine = tuple(s for s in streams if s not in given_stream)
        model = Recorded(gaussian())
        make(
            model,
            latents().only([s for s in ("video", "audio") if s not in given_stream]),
            given=latents(seed=5).only(given_stream),
            draft=draft().only(mine),
            strength=0.4,
            steps=3,
            shift=PAIR,
            progress=seen.append,
        )
        first = model.calls[0].times
        for s in ("video", "audio"):
            time = 0.0 if s in given_stream else 0.4 if s in mine else 1.0
            assert first[s].values.max() == pytest.approx(time), (given_stream, s)
        assert seen[-1].steps == 3


@given(
    strength=st.floats(0.01, 1.0),
    steps=st.integers(1, 12),
    shift=st.floats(0.2, 20.0).map(ConstantShift),
)
def test_the_times_are_even_before_the_shift(strength: float, steps: int, shift: Shift) -> None:
    """u_k = u_0 (1 - k / n) with shift(u_0) = strength; the inverse of this shift is known:
    u = t / (s - (s - 1) t).
    """
    s = shift.shift  # type: ignore[attr-defined]
    first = strength / (s - (s - 1) * strength)
    table = timetable(steps, shift, start=AV(strength, 1.0))
    want = [float(shift(torch.tensor(first * (1 - k / steps)).double())) for k in range(steps + 1)]
    assert [t.video for t in table] == pytest.approx(want, abs=1e-6)
    assert table[0].video == strength
    assert [t.audio for t in table] == [t.audio for t in timetable(steps, shift)]


def test_the_end_of_a_table_is_the_table_of_its_end() -> None:
    """Steps from a time of a longer run are the last ones of that run."""
    whole = timetable(10, ConstantShift(3.0))
    last = timetable(6, ConstantShift(3.0), start=AV(whole[4].video, whole[4].audio))
    assert [t.video for t in last] == pytest.approx([t.video for t in whole[4:]], abs=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    short = draft().map(lambda x: x[:, :1])
    with pytest.raises(ValueError, match=r"draft.video is \[4, 1, .*it has the shape of"):
        make(gaussian(), latents(), draft=short, strength=0.5)
    with pytest.raises(ValueError, match="there is a draft of audio, and audio isn't generated"):
        make(
            gaussian(),
            latents().only(("video",)),
            given=latents().only(("audio",)),
            draft=draft(),
            strength=0.5,
        )
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match="starts at a time above 0 and up to 1"):
            make(gaussian(), latents(), draft=draft(), strength=wrong)
