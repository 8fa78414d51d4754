"""Each sample's draws depend on the seed, the step and its number, and on nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.av import AV, Condition
from harmony_parts.tasks.joint import Joint
from harmony_parts.tasks.packing import plan_each
from harmony_parts.tasks.protocol import Plan
from harmony_parts.tasks.sampled import Sampled
from harmony_parts.tasks.weighted_sum import WeightedSum
from harmony_parts.train.chance import (
    draw_noise,
    drop_conditions,
    sample_generators,
)

LENGTHS = AV(3, 5)
DROP = {"caption": 0.5, "image": 0.3}
FLOW = tiny.recipe().flow


def condition(n: int) -> Condition:
    """Ones, with zeros as null form."""
    null = Condition(torch.zeros(n, 2, 1), torch.zeros(n, 2, dtype=torch.bool))
    return Condition(torch.ones(n, 2, 1), torch.ones(n, 2, dtype=torch.bool), null)


def draws(
    task: Any, samples: range, *, seed: int = 0, step: int = 1
) -> tuple[Plan, dict[str, Condition], AV[Tensor]]:
    """All that is drawn for these samples."""
    generators = sample_generators(seed, step, samples)
    plan = plan_each(task, FLOW.draw, generators, LENGTHS)
    given = {name: condition(len(plan.source)) for name in DROP}
    conditions = drop_conditions(given, DROP, plan, generators)
    latents = AV(torch.zeros(len(samples), 3, 1, 1, 2), torch.zeros(len(samples), 5, 4))
    return plan, conditions, draw_noise(latents, plan, generators)


def rows(
    drawn: tuple[Plan, dict[str, Condition], AV[Tensor]], first: int
) -> dict[tuple[int, str], list[Tensor]]:
    """(sample, task) -> its values; `first` is the number of the first sample."""
    plan, conditions, noise = drawn
    return {
        (first + int(plan.source[m]), plan.names[int(plan.task[m])]): [
            *(plan.times[s].per_latent()[m] for s in plan.times),
            *(plan.weights[s][m] for s in plan.weights),
            *(conditions[name].mask[m] for name in sorted(conditions)),
            *(noise[s][m] for s in noise),
        ]
        for m in range(len(plan.source))
    }


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=15)
@given(
    st.sampled_from([Joint(), WeightedSum(), Sampled()]),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(1, 10**6),
)
def test_a_batch_may_be_cut_anywhere(task: Any, parts: list[int], seed: int, step: int) -> None:
    """Bit for bit: micro-batches and processes draw what one batch would."""
    whole = rows(draws(task, range(sum(parts)), seed=seed, step=step), 0)
    cut: dict[tuple[int, str], list[Tensor]] = {}
    first = 0
    for size in parts:
        cut |= rows(draws(task, range(first, first + size), seed=seed, step=step), first)
        first += size
    assert cut.keys() == whole.keys()
    assert all(equal(cut[key], whole[key]) for key in whole)


def test_samples_steps_and_seeds_differ() -> None:
    """No time and no noise is drawn twice."""
    times, noises = [], []
    for seed, step in ((0, 1), (0, 2), (1, 1)):
        plan, _, noise = draws(Joint(), range(6), seed=seed, step=step)
        times += plan.times["video"].per_latent()[:, 0].tolist()
        noises += noise["audio"][:, 0, 0].tolist()
    assert len(set(times)) == len(set(noises)) == 18


def test_the_entries_of_a_sample_follow_one_another() -> None:
    """So that a slice of samples is a slice of entries."""
    plan, *_ = draws(WeightedSum(), range(4))
    assert plan.source.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert plan.task.tolist() == [0, 1, 2] * 4


def test_the_draws_of_many_samples_have_their_distributions() -> None:
    """Noise is normal, tasks have their probabilities, and samples aren't correlated."""
    n = 3000
    plan, _, noise = draws(Sampled(), range(n))
    values = torch.cat([noise[s].flatten(1) for s in noise], 1)
    k = values.numel()
    assert abs(float(values.mean())) < 5 / k**0.5
    assert abs(float(values.var()) - 1) < 5 * (2 / k) ** 0.5
    neighbours = (values[1:] * values[:-1]).mean()
    assert abs(float(neighbours)) < 5 / k**0.5
    drawn = [int((plan.task == i).sum()) / n for i in range(3)]
    shares = dict(zip(plan.names, drawn, strict=True))
    names = ("joint", "audio-driven", "video-driven")
    for name, p in zip(names, Sampled().probabilities(), strict=True):
        assert abs(shares[name] - p) < 5 * (p * (1 - p) / n) ** 0.5


@settings(max_examples=10)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1000))
def test_conditions_are_dropped_independently_with_their_probabilities(
    first: float, second: float, seed: int
) -> None:
    n = 2000
    generators = sample_generators(seed, 1, range(n))
    plan = plan_each(Joint(), FLOW.draw, generators, LENGTHS)
    one = condition(n)
    result = drop_conditions(
        {"a": one, "b": one, "c": one}, {"b": second, "a": first}, plan, generators
    )
    absent = {name: result[name].tokens[:, 0, 0] == 0 for name in result}
    for name, p in (("a", first), ("b", second), ("c", 0.0)):
        assert abs(float(absent[name].float().mean()) - p) <= 5 * (p * (1 - p) / n) ** 0.5 + 1e-9
        assert torch.equal(result[name].mask, ~absent[name][:, None].expand(-1, 2))
    both = first * second
    assert (
        abs(float((absent["a"] & absent["b"]).float().mean()) - both)
        <= 5 * (both * (1 - both) / n) ** 0.5 + 1e-9
    )


@pytest.mark.parametrize("task", [Joint(), WeightedSum(), Sampled()])
def test_the_global_generator_is_left_alone(task: Any) -> None:
    before = torch.get_rng_state()
    draws(task, range(3))
    assert torch.equal(before, torch.get_rng_state())
