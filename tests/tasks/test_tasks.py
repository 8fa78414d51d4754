"""Tasks, and combinations of tasks."""

from __future__ import annotations

import typing

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.errors import PartContractError
from harmony_parts.tasks.audio_driven import AudioDriven
from harmony_parts.tasks.continuation import Continuation
from harmony_parts.tasks.joint import Joint
from harmony_parts.tasks.protocol import Plan, Task
from harmony_parts.tasks.sampled import Draw, Sampled
from harmony_parts.tasks.video_driven import VideoDriven
from harmony_parts.tasks.weighted_sum import Term, WeightedSum
from harmony_parts.testing.contracts.tasks import check_task

NAMES = ("joint", "audio-driven", "video-driven")
SINGLE: tuple[Task, ...] = (Joint(), AudioDriven(), VideoDriven())
WEIGHTS = st.lists(st.floats(0, 3), min_size=3, max_size=3).filter(lambda w: max(w) > 0.1)


def draw(n: int, generator: torch.Generator) -> AV[Tensor]:
    """Times of one draw per clip that differ between the streams."""
    t = torch.rand(n, generator=generator) * 0.9 + 0.1
    return AV(t, t.square())


LATENTS = AV(3, 7)


def time(plan: Plan, stream: str) -> Tensor:
    """The time of a stream [M], which all its latents share."""
    each = plan.times[stream].per_latent()
    assert (each == each[:, :1]).all()
    return each[:, 0]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loss(plan: Plan, n: int) -> Tensor:
    """The batch loss of a fictitious model, whose error depends on the clip, the stream and the
    given streams.
    """
    clean = 2.0 * (time(plan, "video") == 0) + 3.0 * (time(plan, "audio") == 0)
    errors = AV((1.0 + plan.source) * (1 + clean), (2.0 + plan.source**2) * (1 + clean))
    return sum((plan.weights[s].double() * errors[s]).sum() for s in plan.weights) / n  # type: ignore[return-value]


@pytest.mark.parametrize(
    "task",
    [
        *SINGLE,
        WeightedSum(),
        Sampled(),
        Sampled((Draw(WeightedSum(), 2.0), Draw(Joint(), 1.0))),
        Continuation(),
        Continuation(AudioDriven(), streams="video"),
        Sampled((Draw(Joint()), Draw(Continuation(WeightedSum())))),
    ],
    ids=repr,
)
def test_contract(task: Task) -> None:
    check_task(task)


def test_clean_streams_have_time_0_and_weight_0() -> None:
    joint, audio, video = (task.plan(5, draw, seeded(), LATENTS) for task in SINGLE)
    assert all(torch.equal(time(joint, s), draw(5, seeded())[s]) for s in ("video", "audio"))
    for plan, clean, noisy in ((audio, "audio", "video"), (video, "video", "audio")):
        assert (time(plan, clean) == 0).all()
        assert torch.equal(time(plan, noisy), draw(5, seeded())[noisy])
        assert (plan.weights[clean] == 0).all()
        assert (plan.weights[noisy] == 1).all()


def test_defaults_are_those_of_the_paper() -> None:
    """Weights are 1, 0.1 and 0.3; probabilities are proportional to them."""
    plan = WeightedSum().plan(2, draw, seeded(), LATENTS)
    assert plan.names == NAMES
    totals = {
        name: sum(plan.weights[s][plan.task == k].sum().item() for s in plan.weights)
        for k, name in enumerate(NAMES)
    }
    assert totals == pytest.approx({"joint": 4.0, "audio-driven": 0.2, "video-driven": 0.6})
    assert Sampled().probabilities() == pytest.approx((1 / 1.4, 0.1 / 1.4, 0.3 / 1.4))
    drawn = Sampled().plan(500, draw, seeded(), LATENTS)
    assert drawn.names == NAMES
    assert torch.allclose(
        torch.maximum(drawn.weights["video"], drawn.weights["audio"]), torch.tensor(1.4)
    )


def test_nested_combinations_keep_names_and_clips() -> None:
    """Entries keep their task names, which are unique, and belong to the clip that drew them."""
    plan = Sampled((Draw(VideoDriven(), 1.0), Draw(WeightedSum(), 1.0))).plan(
        40, draw, seeded(), LATENTS
    )
    assert plan.names == ("video-driven", "joint", "audio-driven")
    called = [plan.names[k] for k in plan.task]
    clean = {(False, False): "joint", (False, True): "audio-driven", (True, False): "video-driven"}
    assert called == [
        clean[bool(v == 0), bool(a == 0)]
        for v, a in zip(time(plan, "video"), time(plan, "audio"), strict=True)
    ]
    entries = plan.source.bincount(minlength=40)
    assert set(entries.tolist()) == {1, 3}
    assert set(plan.source[plan.task == 1].tolist()) == set((entries == 3).nonzero()[:, 0].tolist())


@given(st.integers(1, 6), WEIGHTS)
def test_the_weighted_sum_adds_weighted_losses(n: int, weights: list[float]) -> None:
    """The loss is sum_k lambda_k L_k, and every clip is in every term."""
    terms = tuple(Term(task, weight) for task, weight in zip(SINGLE, weights, strict=True))
    plan = WeightedSum(terms).plan(n, draw, seeded(), LATENTS)
    want = sum(
        weight * loss(task.plan(n, draw, seeded(), LATENTS), n)
        for task, weight in zip(SINGLE, weights, strict=True)
    )
    assert torch.allclose(loss(plan, n), torch.as_tensor(want, dtype=torch.float64), rtol=1e-6)
    active = sum(weight > 0 for weight in weights)
    assert torch.equal(plan.source.bincount(minlength=n), torch.full((n,), active))


@given(WEIGHTS, st.lists(st.floats(0.1, 1), min_size=3, max_size=3))
def test_sampled_has_the_expectation_of_the_weighted_sum(
    weights: list[float], shares: list[float]
) -> None:
    """sum_k p_k (lambda_k / p_k) L_k, over the mean losses of the clips that drew each task, equals
    the loss of the weighted sum.
    """
    p = [share / sum(shares) for share in shares]
    sampled = Sampled(
        tuple(Draw(task, weight, q) for task, weight, q in zip(SINGLE, weights, p, strict=True))
    )
    plan = sampled.plan(200, draw, seeded(), LATENTS)
    expected = 0.0
    for k, name in enumerate(plan.names):
        rows = (plan.task == k).nonzero()[:, 0]
        if not len(rows):
            continue
        # the mean loss of the clips that drew this task, as entries of one clip
        each = Plan(
            plan.source[rows] * 0,
            plan.times.map(lambda t, r=rows: t.rows(r)),
            plan.weights.map(lambda w, r=rows: w[r]),
            plan.task[rows],
            (name,),
        )
        expected += p[k] * float(loss(each, len(rows)))
    if all((plan.task == k).any() for k in range(3)):
        whole = WeightedSum(
            tuple(Term(task, weight) for task, weight in zip(SINGLE, weights, strict=True))
        ).plan(1, draw, seeded(), LATENTS)
        assert expected == pytest.approx(float(loss(whole, 1)), rel=1e-5)


def _drawn(plan: Plan, name: str) -> int:
    """The number of entries of a task, which a plan names only if it has some."""
    return int((plan.task == plan.names.index(name)).sum()) if name in plan.names else 0


def test_probabilities_sum_to_one_within_a_millionth() -> None:
    def sampled(excess: float) -> Sampled:
        return Sampled((Draw(Joint(), 1.0, 0.5), Draw(AudioDriven(), 1.0, 0.5 + excess)))

    assert sum(sampled(9e-7).probabilities()) == pytest.approx(1, abs=1e-12)
    with pytest.raises(ValueError, match="must sum to 1"):
        sampled(1.5e-6)


def test_sampled_draws_tasks_with_their_probabilities() -> None:
    """The mean loss of 4,000 batches is that of the weighted sum within five standard errors."""
    sampled = Sampled(
        (Draw(Joint(), 1.0, 0.5), Draw(AudioDriven(), 0.1, 0.2), Draw(VideoDriven(), 0.3, 0.3))
    )
    random, n, batches = seeded(), 4, 4000
    losses, counts = [], torch.zeros(3)
    for _ in range(batches):
        plan = sampled.plan(n, draw, random, LATENTS)
        assert torch.equal(plan.source.sort().values, torch.arange(n))
        losses.append(loss(plan, n))
        counts += torch.tensor([_drawn(plan, name) for name in NAMES])
    values = torch.stack(losses)
    assert (
        abs(values.mean() - loss(WeightedSum().plan(n, draw, seeded(), LATENTS), n))
        < 5 * values.std() / batches**0.5
    )
    p = torch.tensor(sampled.probabilities())
    assert ((counts / (n * batches) - p).abs() < 5 * (p * (1 - p) / (n * batches)).sqrt()).all()


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        Sampled((Draw(Joint(), 1.0, 0.5), Draw(AudioDriven(), 1.0, 0.4)))
    with pytest.raises(ValueError, match="every term, or of none"):
        Sampled((Draw(Joint(), 1.0, 0.5), Draw(AudioDriven(), 1.0)))
    with pytest.raises(ValueError, match="never trained"):
        Sampled((Draw(Joint(), 1.0, 1.0), Draw(AudioDriven(), 1.0, 0.0)))
    for mixture in (WeightedSum, Sampled):
        with pytest.raises(ValueError, match="nothing to train"):
            mixture(())
    with pytest.raises(ValueError, match="weight"):
        Term(Joint(), -1.0)


def test_tasks_with_different_streams_cannot_be_packed() -> None:
    @attrs.frozen
    class AudioAlone:
        def plan(self, n, draw, generator, latents):
            plan = VideoDriven().plan(n, draw, generator, latents)
            return Plan(
                plan.source,
                plan.times.only(("audio",)),
                plan.weights.only(("audio",)),
                plan.task,
                ("audio-only",),
            )

    check_task(AudioAlone())
    with pytest.raises(PartContractError, match="audio-only"):
        WeightedSum((Term(Joint()), Term(AudioAlone()))).plan(2, draw, seeded(), LATENTS)


def test_contract_checks_find_faults() -> None:
    @attrs.frozen
    class LossOnClean:
        def plan(self, n, draw, generator, latents):
            plan = AudioDriven().plan(n, draw, generator, latents)
            return attrs.evolve(plan, weights=AV(*[torch.ones(n)] * 2))

    @attrs.frozen
    class IgnoresDraw:
        def plan(self, n, draw, generator, latents):
            return Joint().plan(
                n, lambda n, _: AV(*torch.rand(2, n) * 0.9 + 0.1), generator, latents
            )

    @attrs.frozen
    class Forgets:
        def plan(self, n, draw, generator, latents):
            Joint().plan(n, draw, generator, latents)

    with pytest.raises(PartContractError, match="return a Plan, not a NoneType"):
        check_task(Forgets())
    with pytest.raises(PartContractError, match="weight 0 for audio at time 0"):
        check_task(LossOnClean())
    with pytest.raises(PartContractError, match="generator"):
        check_task(IgnoresDraw())


def test_nested_parts_are_typed_by_their_kind() -> None:
    """Assembly finds the kind of a nested part by its field's type."""
    assert typing.get_type_hints(Term)["task"] is Task
    assert typing.get_type_hints(Draw)["task"] is Task
    assert typing.get_type_hints(WeightedSum)["terms"] == tuple[Term, ...]
    assert typing.get_type_hints(Sampled)["terms"] == tuple[Draw, ...]
