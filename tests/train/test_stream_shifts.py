"""Training times of streams with different shifts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.assembly.recipe import Flow
from harmony_parts.av import AV, Times
from harmony_parts.flow.logit_normal import LogitNormal
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.flow.uniform import Uniform
from harmony_parts.sample.timetable import timetable
from harmony_parts.tasks.joint import Joint
from harmony_parts.train.step import draw_batch, train_step

PAIR = StreamShifts(ConstantShift(12.0), ConstantShift(3.0))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("density", [Uniform(), LogitNormal()])
def test_one_draw_per_clip_is_moved_by_the_shift_of_each_stream(density: Any) -> None:
    """From the same generator, each stream gets the times that its shift alone would give."""
    both = Flow(StraightPath(), density, PAIR).draw(64, seeded())
    for stream in both:
        single = Flow(StraightPath(), density, getattr(PAIR, stream)).draw(64, seeded())
        assert torch.equal(single["video"], single["audio"])
        assert torch.equal(both[stream], single[stream])


@pytest.mark.parametrize(
    ("shift", "video", "audio"),
    [(ConstantShift(5.0), 5, 5), (PAIR, 12, 3)],
)
def test_training_times_are_shifted(shift: Any, video: float, audio: float) -> None:
    """t = s u / (1 + (s - 1) u) of the density's own draw u, to float32's rounding."""
    u = Uniform().draw(64, seeded()).double()
    times = Flow(StraightPath(), Uniform(), shift).draw(64, seeded())
    for stream, s in (("video", video), ("audio", audio)):
        assert (times[stream].double() - s * u / (1 + (s - 1) * u)).abs().max() < 1e-6


def test_joint_training_follows_the_curve_of_sampling() -> None:
    """t_v = 12 u / (1 + 11 u) and t_a = 3 u / (1 + 2 u), so t_v = 4 t_a / (1 + 3 t_a): in a plan of
    training, to float32's rounding, as in a timetable.
    """
    draw = Flow(StraightPath(), Uniform(), PAIR).draw
    trained = Joint().plan(500, draw, seeded(), AV(3, 4)).times.map(Times.per_latent)
    table = timetable(40, PAIR)
    sampled = AV(*(torch.tensor([times[s] for times in table]) for s in ("video", "audio")))
    for times in (trained, sampled):
        t_v, t_a = (times[s].double().reshape(len(times[s]), -1)[:, 0] for s in times)
        assert (t_v - 4 * t_a / (1 + 3 * t_a)).abs().max() < 1e-6


def test_training_with_two_equal_shifts_is_training_with_one(tmp_path: Path) -> None:
    """Losses and weights after three steps, bit for bit; unequal shifts give others."""
    one, results = tiny.recipe(), []
    shift = one.flow.shift
    for name, each in (
        ("one", shift),
        ("two", StreamShifts(shift, shift)),
        ("unequal", StreamShifts(shift, ConstantShift(12.0))),
    ):
        recipe = attrs.evolve(one, flow=attrs.evolve(one.flow, shift=each))
        with torch.random.fork_rng(devices=[]):
            state, data = tiny.begin(recipe, tmp_path / name)
            losses = [train_step(state, draw_batch(state, data.batches), recipe) for _ in "abc"]
        weights = torch.cat([p.detach().flatten() for p in state.modules.parameters()])
        results.append((losses, weights))
    (first, a), (second, b), (third, c) = results
    assert first == second
    assert torch.equal(a, b)
    assert first != third
    assert not torch.equal(a, c)
