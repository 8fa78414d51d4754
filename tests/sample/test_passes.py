"""The passes that the sampler runs, their inputs, and the streams read from them."""

from __future__ import annotations

import math
import typing
from typing import Any

import attrs
import pytest
import torch
from helpers.toy_guidance import (
    AUDIO,
    SYNC,
    VIDEO,
    Estimate,
    caption,
    flat,
    gaussian,
    latents,
    make,
)
from torch import Tensor

from harmony_parts.av import AV, Condition, Times
from harmony_parts.denoisers.protocol import Port
from harmony_parts.errors import RunError
from harmony_parts.flow.straight import StraightPath
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    Guidance,
    StepTimes,
)
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.sample.checks import FiniteChecks
from harmony_parts.sample.networks import Networks
from harmony_parts.sample.pass_graph import checked_passes, order
from harmony_parts.sample.passes import Passes
from harmony_parts.tasks.protocol import TASKS
from harmony_parts.testing.gaussian_denoiser import Recorded


@pytest.mark.parametrize(
    ("guidance", "passes"),
    [
        (NoGuidance(), (1, 1, 1)),
        (CFG(1, 1), (1, 1, 1)),
        (CFG(3, 1), (2, 2, 1)),
        (CFG(3, 2), (2, 2, 2)),
        (SYNC, (3, 2, 2)),
        (attrs.evolve(SYNC, audio=1), (2, 2, 1)),
        (Sum((CFG(3, 2), SYNC)), (4, 3, 3)),
        (Sum((CFG(3, 2), CFG(5, 5))), (2, 2, 2)),
        (Sum(()), (1, 1, 1)),
    ],
    ids=repr,
)
def test_passes_per_step(guidance: Guidance, passes: tuple[int, int, int]) -> None:
    """Only guided streams are read, not given streams or anchors."""
    for (task, given), count in zip(TASKS.items(), passes, strict=True):
        model, both = Recorded(gaussian()), latents()
        make(
            model,
            both.only({"video", "audio"} - set(given)),
            caption(),
            given=both.only(given),
            guidance=guidance,
            steps=3,
        )
        assert len(model.calls) == 3 * count, task
        for call in model.calls:
            assert not set(call.read) & set(given)
            assert all(call.time(stream) > 0 for stream in call.read)


def test_inputs_of_sync_cfg_s_passes() -> None:
    """A joint step: both streams at t; the video with silence at time 0; the audio with a video at
    time 0 that is made from this step's estimate.
    """
    inner = gaussian()
    model, noise = Recorded(inner), latents()
    make(model, noise, guidance=SYNC, steps=1)
    joint, mute, static = sorted(
        model.calls, key=lambda call: (call.time("video") == 0, call.time("audio") == 0)
    )
    assert [(c.time("video"), c.time("audio"), c.read) for c in (joint, mute, static)] == [
        (1.0, 1.0, ("video", "audio")),
        (1.0, 0.0, ("video",)),
        (0.0, 1.0, ("audio",)),
    ]
    assert torch.equal(mute.av["audio"], torch.zeros_like(noise["audio"]))
    assert torch.equal(mute.av["video"], noise["video"])
    velocity = inner(joint.av, joint.times, {})
    assert torch.equal(static.av["video"], noise["video"] - velocity["video"])
    assert torch.equal(static.av["audio"], noise["audio"])
    order = [id(call) for call in model.calls]
    assert order.index(id(joint)) < order.index(id(static))


def test_one_cache_for_each_set_of_dropped_conditions() -> None:
    model, conditions = Recorded(gaussian()), caption()
    make(model, latents(), conditions, guidance=Sum((CFG(3, 2), SYNC)), steps=3)
    caches = {id(call.cache): call.conditions["caption"] for call in model.calls}
    assert len(caches) == 2
    for call in model.calls:
        assert call.conditions["caption"] is caches[id(call.cache)]
    assert {id(condition) for condition in caches.values()} == {
        id(conditions["caption"]),
        id(conditions["caption"].null),
    }


def test_dropping_absent_conditions_costs_no_pass() -> None:
    model = Recorded(gaussian())
    plain = caption()["caption"]
    for conditions in ({}, {"caption": Condition(plain.tokens, plain.mask)}):
        make(model, latents(), conditions, guidance=CFG(5, 5), steps=2)
    assert len(model.calls) == 4


def test_the_estimate_is_computed_only_if_an_anchor_needs_it() -> None:
    made: list[float] = []

    class Counted(StraightPath):
        def data(self, x: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
            made.append(float(t))
            return super().data(x, velocity, t)

    for guidance, times in ((CFG(), []), (attrs.evolve(SYNC, audio=1), []), (SYNC, [1.0, 1.0])):
        made.clear()
        make(gaussian(), latents(), caption(), guidance=guidance, path=Counted(), steps=1)
        assert made == times


def test_the_estimate_uses_the_path_and_each_stream_s_time() -> None:
    """x - t v in the precision of the latents, even if that of the model differs."""
    model = Recorded(gaussian(), after=lambda _, velocity: velocity.map(lambda v: v.bfloat16()))
    passes, times, x = (
        Passes(Networks((model, {}), None, AV()), AV(), StraightPath(), together=0),
        StepTimes(0.7, 0.3),
        latents(),
    )
    sync = SyncCFG(3, 2, mute=Estimate("audio"), static=Estimate("video"))
    answers = passes.predict(
        order(checked_passes(sync, times, None, hints=(), droppable=()), sync), x, times, "a test"
    )
    own, mute, static = model.calls
    assert torch.equal(mute.av["audio"], x["audio"] - 0.3 * answers[CONDITIONAL]["audio"].double())
    assert torch.equal(
        static.av["video"], x["video"] - 0.7 * answers[CONDITIONAL]["video"].double()
    )
    assert [own.time("video"), own.time("audio")] == [0.7, 0.3]  # in their precision, too


def test_streams_that_are_not_read_are_ignored() -> None:
    """The denoiser may return them, even with NaN."""

    class Generous(Recorded):
        def __call__(
            self, av: AV[Tensor], times: AV[Times], conditions: Any, *, read: Any = (), **more: Any
        ) -> AV[Tensor]:
            velocity = super().__call__(av, times, conditions, **more)
            return velocity.replace(
                **{s: velocity[s] * math.nan for s in velocity if s not in read}
            )

    given = latents(seed=8).only(("audio",))
    for guidance in (CFG(3, 1), SYNC):
        for more in ({"noise": latents()}, {"noise": latents().only(("video",)), "given": given}):
            made = [
                flat(make(model, conditions=caption(), guidance=guidance, **more))
                for model in (Generous(gaussian()), gaussian())
            ]
            assert torch.equal(*made)


def settled(*checks: tuple[AV[torch.Tensor], str]) -> None:
    """All checks at once."""
    finite = FiniteChecks()
    for values, name in checks:
        finite.add(values, lambda name=name: name)
    finite.settle()


def test_large_numbers_whose_sum_overflows_are_finite() -> None:
    settled((AV(torch.full((4,), 3e38)), "nobody"))
    for wrong in (math.inf, -math.inf, math.nan):
        bad = AV(torch.zeros(2), torch.tensor([3e38, 3e38, wrong]))
        with pytest.raises(RunError, match="somebody returned NaN or infinity for audio"):
            settled((AV(torch.full((4,), 3e38)), "nobody"), (bad, "somebody"), (bad, "later"))


def test_finite_numbers_of_all_checks_cost_one_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer from a GPU waits for all work before it. Each value is checked once."""
    transfers: list[str] = []
    for name in ("item", "tolist", "__float__", "__bool__"):
        plain = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda x, name=name, plain=plain: transfers.append(name) or plain(x),
        )
    finite = FiniteChecks()
    for _ in range(2):
        finite.add(AV(torch.zeros(2), torch.ones(3)), lambda: "nobody")
    finite.settle()
    finite.settle()
    assert transfers == ["tolist"]


class FirstLatentKnown:
    """A denoiser that predicts the condition "image" as the first video latent, and 0 elsewhere."""

    accepts: typing.ClassVar = {
        "image": Port("video", "clean_tokens"),
        "voice": Port("audio", "clean_tokens"),
    }
    hints: frozenset[str] = frozenset()
    blocks = ()

    def __init__(self) -> None:
        self.dropped: list[tuple[bool, bool]] = []

    def __call__(
        self, av: AV[Tensor], times: AV[Times], conditions: Any, *, read: Any = (), **_: Any
    ) -> AV[Tensor]:
        self.dropped.append(tuple(not conditions[name].mask.any() for name in self.accepts))  # type: ignore[arg-type]
        image, data = conditions["image"], av.map(torch.zeros_like)
        if av.video is not None:
            data["video"][:, :1] = torch.where(
                image.mask[:, :, None, None, None], image.tokens, data["video"][:, :1]
            )

        def velocity(x: Tensor, x_0: Tensor, t: Times) -> Tensor:
            t = t.per_latent().view(*x.shape[:2], *(1,) * (x.ndim - 2))  # type: ignore[assignment]
            return torch.where(t > 0, (x - x_0) / torch.where(t > 0, t, 1), 0)  # type: ignore[call-overload, operator]

        return av.map(velocity, data, times).only(read)


@pytest.mark.parametrize(
    "guidance",
    [CFG(4, 3, drop=("caption", "image", "voice")), attrs.evolve(SYNC, drop=("image", "voice"))],
    ids=repr,
)
def test_a_known_latent_is_reached_even_if_guidance_drops_its_condition(guidance: Guidance) -> None:
    """The given picture stays in every pass. A voice, which fixes no latent of the result, can be
    dropped.
    """
    noise = latents()
    picture, voice = (
        torch.full((4, 1, *VIDEO[1:]), 0.3, dtype=torch.float64),
        torch.zeros(4, 1, AUDIO[1], dtype=torch.float64),
    )
    off = torch.zeros(4, 1, dtype=torch.bool)
    conditions = {
        name: Condition(tokens, ~off, Condition(tokens * 0, off))
        for name, tokens in (("image", picture), ("voice", voice))
    }
    model = FirstLatentKnown()
    result = make(model, noise, conditions, guidance=guidance)
    assert torch.allclose(result["video"][:, :1], picture, atol=1e-12)
    assert {image for image, _ in model.dropped} == {False}
    assert {voice for _, voice in model.dropped} == {False, True}
