"""The loss of a packed batch, its conditions, and its gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers import tiny_training as tiny
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.assembly.build import Parts, build
from harmony_parts.av import AV, Condition, Times
from harmony_parts.flow.straight import StraightPath
from harmony_parts.latents.conditions import conditions_of
from harmony_parts.latents.encode import encode_examples
from harmony_parts.models.folder import saved_modules
from harmony_parts.tasks.packing import plan_each
from harmony_parts.tasks.protocol import Plan
from harmony_parts.tasks.weighted_sum import WeightedSum
from harmony_parts.train.chance import draw_noise, sample_generators
from harmony_parts.train.objective import losses, packed

CLIPS = 3


@attrs.frozen
class Setting:
    """A model in float64, three clips, and a plan.

    The weights are random, since many outputs of a new model are zero, which would hide faults.
    """

    parts: Parts
    latents: AV[Tensor]
    conditions: dict[str, Condition]
    plan: Plan
    noise: AV[Tensor]

    def losses(self, plan: Plan, noise: AV[Tensor], **more: Any) -> Any:
        return losses(
            self.parts.denoiser,
            self.latents,
            noise,
            packed(self.conditions, plan),
            plan,
            StraightPath(),
            **more,
        )


def setting(layers: int = 2) -> Setting:
    recipe = tiny.recipe(layers=layers)
    parts = build(recipe, 0)
    module, generator = saved_modules(parts).double(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn(
                parameter.shape, generator=generator, dtype=torch.float64
            )
    data = recipe.data.build(format=recipe.format, root=None)
    examples = [data.example(i, generator) for i in range(CLIPS)]
    latents = encode_examples(examples, recipe.format, parts.codecs, torch.device("cpu")).map(
        Tensor.double
    )
    conditions = conditions_of(parts.encoders.values(), [example.prompt for example in examples])
    lengths = latents.map(lambda x: x.shape[1])
    samples = sample_generators(0, 1, range(CLIPS))
    plan = plan_each(WeightedSum(), recipe.flow.draw, samples, lengths)
    return Setting(parts, latents, conditions, plan, draw_noise(latents, plan, samples))


@pytest.fixture(scope="module")
def model() -> Setting:
    return setting()


def some(plan: Plan, rows: Tensor) -> Plan:
    """A plan with only the entries `rows`."""
    return attrs.evolve(
        plan,
        source=plan.source[rows],
        times=plan.times.map(lambda t: t.rows(rows)),
        weights=plan.weights.map(lambda w: w[rows]),
        task=plan.task[rows],
    )


def test_the_tasks_of_a_clip_have_noise_and_times_of_their_own(model: Setting) -> None:
    """Each loss of the sum is an expectation by itself; equal draws have a probability of 0."""
    entries = range(len(model.plan.source))
    for stream in ("video", "audio"):
        noise, times = model.noise[stream], model.plan.times[stream].per_latent()[:, 0]
        for i in entries:
            for j in range(i):
                assert not (noise[i] == noise[j]).any()
                assert times[i] != times[j] or not times[i]


def test_the_loss_of_a_packed_batch_is_the_sum_over_its_tasks(model: Setting) -> None:
    """Loss and every gradient, in float64: each task by itself against all in one batch."""
    parameters = dict(saved_modules(model.parts).named_parameters())
    whole = model.losses(model.plan, model.noise).total
    together = torch.autograd.grad(whole, parameters.values(), retain_graph=True, allow_unused=True)
    apart, sums = (
        torch.zeros((), dtype=torch.float64),
        [torch.zeros_like(p) for p in parameters.values()],
    )
    for task in range(len(model.plan.names)):
        rows = (model.plan.task == task).nonzero()[:, 0]
        loss = model.losses(some(model.plan, rows), model.noise.map(lambda n, r=rows: n[r])).total
        for total, gradient in zip(
            sums,
            torch.autograd.grad(loss, parameters.values(), retain_graph=True, allow_unused=True),
        ):
            if gradient is not None:
                total += gradient
        apart = apart + loss.detach()
    assert whole.item() == pytest.approx(apart.item(), rel=1e-12)
    for name, one, other in zip(parameters, together, sums):
        # sums of some 10^4 terms in another order; the scale is that of the whole gradient
        torch.testing.assert_close(
            torch.zeros_like(other) if one is None else one,
            other,
            rtol=1e-9,
            atol=1e-9,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def test_the_gradient_reaches_every_weight(model: Setting) -> None:
    module = saved_modules(model.parts)
    module.zero_grad()
    model.losses(model.plan, model.noise).total.backward(retain_graph=True)
    untouched = {
        name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()
    }
    assert untouched == set()


def test_a_known_first_latent_adds_no_loss(model: Setting) -> None:
    """If an image gives the first latent, that latent's velocity is its target to rounding."""
    entries = packed(model.conditions, model.plan)
    without = model.plan.source == 0  # the first clip has no image
    entries["image"] = entries["image"].drop_rows(without)
    seen: dict[str, Tensor] = {}

    def watched(av: AV[Tensor], times: AV[Times], conditions: Any, *, read: Any) -> AV[Tensor]:
        result = model.parts.denoiser(av, times, conditions, read=read)
        seen["velocity"] = result["video"].detach()
        return result

    result = losses(watched, model.latents, model.noise, entries, model.plan, StraightPath())
    noisy = model.plan.weights["video"] > 0
    # [M, T]
    error = (
        (seen["velocity"] - (model.noise["video"] - model.latents["video"][model.plan.source]))
        .square()
        .flatten(2)
        .mean(2)
    )
    # v = (x_t - x) / t with x_t of order 1: rounding is magnified by 1 / t
    bound = (
        8
        * torch.finfo(torch.float64).eps
        / model.plan.times["video"].values[:, 0].double().clamp(min=1e-6)
    ) ** 2 * 100
    assert (error[:, 0] <= bound)[noisy & ~without].all()
    assert (error[:, 0] > 1e-3)[noisy & without].all()
    torch.testing.assert_close(result.entries["video"][noisy], error[noisy].mean(1))


def naive(latents: AV[Tensor], noise: AV[Tensor], plan: Plan) -> float:
    """The formula of `Plan`, entry by entry, for a denoiser that returns its input."""
    total = 0.0
    for m in range(len(plan.source)):
        for stream in ("video", "audio"):
            each = plan.times[stream].per_latent()[m].double()
            errors = []
            for x, n, t in zip(latents[stream][plan.source[m]], noise[stream][m], each):
                if t > 0:
                    errors.append((((1 - t) * x + t * n) - (n - x)).square().mean())
            if errors:
                total += float(plan.weights[stream][m]) * float(sum(errors) / len(errors))
    return total / len(latents["video"])


def some_times(entries: int, latents: int, generator: torch.Generator) -> Times:
    """Two values per entry, some of them 0, and which of them each latent has."""
    values = torch.rand(entries, 2, generator=generator)
    noisy = torch.rand(entries, 2, generator=generator) < 0.7
    index = torch.randint(2, (entries, latents), generator=generator)
    return Times(values * noisy, index)


@given(st.data())
def test_the_loss_follows_the_plans_weights_sources_and_times(data: st.DataObject) -> None:
    n, entries = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    latents = AV(
        *(
            torch.randn(n, *shape, generator=generator, dtype=torch.float64)
            for shape in ((2, 1, 1, 3), (5, 2))
        )
    )
    noise = AV(
        *(
            torch.randn(entries, *shape, generator=generator, dtype=torch.float64)
            for shape in ((2, 1, 1, 3), (5, 2))
        )
    )
    shares = st.lists(
        st.sampled_from([0.0, 0.1, 1.0, 3.0]), min_size=entries, max_size=entries
    ).map(torch.tensor)
    plan = Plan(
        source=torch.randint(n, (entries,), generator=generator),
        times=AV(*(some_times(entries, latents[s].shape[1], generator) for s in latents)),
        weights=AV(data.draw(shares), data.draw(shares)),
        task=torch.zeros(entries, dtype=torch.long),
        names=("any",),
    )
    reads: list[tuple[str, ...]] = []

    def denoiser(
        av: AV[Tensor], times: AV[Times], conditions: Any, *, read: tuple[str, ...]
    ) -> AV[Tensor]:
        reads.append(read)
        for stream in av:
            clean = plan.times[stream].per_latent() == 0
            assert torch.equal(av[stream][clean], latents[stream][plan.source][clean])
            assert torch.equal(times[stream].per_latent(), plan.times[stream].per_latent().double())
        return av.only(read)

    result = losses(denoiser, latents, noise, {}, plan, StraightPath())
    assert reads == [("video", "audio")]
    only = losses(denoiser, latents, noise, {}, plan, StraightPath(), read=("audio",))
    assert reads[1:] == [("audio",)]
    torch.testing.assert_close(only.entries["audio"], result.entries["audio"], rtol=0, atol=0)
    # times and weights are float32
    assert result.total.item() == pytest.approx(naive(latents, noise, plan), rel=1e-6)


class WithFloor(StraightPath):
    """A path with noise left at time 0: x_t = (1 - t) x + (s + (1 - s) t) n (arXiv:2210.02747)."""

    def interpolate(self, data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return (1 - t) * data + (0.1 + 0.9 * t) * noise


def test_a_stream_at_time_0_is_its_data_on_any_path() -> None:
    latents = AV(torch.ones(2, 1, 1, 1, 1), torch.ones(2, 1, 1))
    noise = latents.map(lambda x: 5 * x)
    plan = Plan(
        torch.arange(2),
        AV(
            Times.uniform(torch.tensor([0.0, 0.5]), 1),
            Times.uniform(torch.tensor([0.5, 0.0]), 1),
        ),
        AV(*[torch.ones(2)] * 2),
        torch.zeros(2).long(),
        ("any",),
    )

    def denoiser(av: AV[Tensor], times: AV[Times], conditions: Any, *, read: Any) -> AV[Tensor]:
        assert av["video"].flatten().tolist() == pytest.approx([1.0, 0.5 + 0.55 * 5])
        assert av["audio"].flatten().tolist() == pytest.approx([0.5 + 0.55 * 5, 1.0])
        return av

    losses(denoiser, latents, noise, {}, plan, WithFloor())


def test_helpers_are_the_ones_of_this_repository() -> None:
    """Not an installed package of the same name."""
    assert Path(tiny.__file__).parents[1] == Path(__file__).parents[1]


def test_tasks_can_be_run_one_after_the_other(model: Setting) -> None:
    """Whatever the order of the entries."""
    order = torch.randperm(len(model.plan.source), generator=torch.Generator().manual_seed(0))
    plan, noise = some(model.plan, order), model.noise.map(lambda x: x[order])
    together, apart = (model.losses(plan, noise, apart=apart) for apart in (False, True))
    assert together.total.item() == pytest.approx(apart.total.item(), rel=1e-12)
    for s in together.entries:
        torch.testing.assert_close(apart.entries[s], together.entries[s])


def test_tasks_that_not_all_clips_have_share_a_run(model: Setting) -> None:
    """So that all processes run the denoiser as often."""
    runs = []
    model.parts.denoiser.register_forward_pre_hook(lambda *_: runs.append(0))
    plan, noise = some(model.plan, torch.arange(1, 9)), model.noise.map(lambda x: x[1:9])
    model.losses(plan, noise, apart=True)
    assert len(runs) == 1
    model.losses(model.plan, model.noise, apart=True)
    assert len(runs) == 1 + len(model.plan.names)
