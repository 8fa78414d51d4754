"""Passes of other models and with other words: on which network each runs, and with what."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from helpers.toy_guidance import SIZE, SYNC, caption, flat, gaussian, latents, make
from torch import Tensor

from harmony_parts.av import AV, Conditions
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.demands import demands
from harmony_parts.guidance.protocol import CONDITIONAL, Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.window import Window
from harmony_parts.testing.contracts.guidance import check_guidance
from harmony_parts.testing.gaussian_denoiser import Recorded
from harmony_parts.testing.guidance_properties import cases


@attrs.frozen
class Away:
    """v = v_other + s (v - v_other): away from another model, or from other words."""

    model: str = ""
    words: tuple[tuple[str, str], ...] = ()
    scale: float = 2.0
    hints: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        other = Pass(
            "other",
            times,
            model=self.model,
            words=self.words,
            hints=self.hints,
            drop=self.drop,
            read=times.generated(),
        )
        return [conditional(times), other]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        own = preds[CONDITIONAL].only(times.generated())
        return own.map(lambda v, o: torch.lerp(o, v, self.scale), preds["other"]), state


WEAK, DOG = Away("weak"), Away(words=(("caption", "a dog"),))


class World:
    """The denoisers and conditions behind names and words; records what is asked for."""

    def __init__(self) -> None:
        self.own, self.weak = Recorded(gaussian(0)), Recorded(gaussian(5, hints=("blur",)))
        self.asked: list[Any] = []

    def __call__(self, model: str, words: Any) -> tuple[Any, Conditions]:
        self.asked.append((model, words))
        return {"": self.own, "weak": self.weak}[model], caption(seed=7 if words else 3)


def test_each_pass_runs_on_its_network_and_each_is_asked_for_once() -> None:
    """Both guided at once: three passes, of the model, of the weak one, and with other words."""
    world = World()
    make(world.own, latents(), caption(), guidance=Sum((WEAK, DOG)), steps=3, others=world)
    assert world.asked == [("weak", ()), ("", (("caption", "a dog"),))]
    assert len(world.weak.calls) == 3
    assert len(world.own.calls) == 6
    said = [call.conditions["caption"].tokens for call in world.own.calls]
    assert sum(torch.equal(tokens, caption(seed=7)["caption"].tokens) for tokens in said) == 3
    assert all(
        torch.equal(call.conditions["caption"].tokens, caption(seed=3)["caption"].tokens)
        for call in world.weak.calls
    )


@pytest.mark.parametrize("together", [0, 10**6])
def test_the_result_is_the_extrapolation_from_the_other_network(together: int) -> None:
    """One Euler step from time 1: x - v."""
    for guidance, other, conditions in (
        (WEAK, gaussian(5), caption(seed=3)),
        (DOG, gaussian(0), caption(seed=7)),
    ):
        world, x = World(), latents()
        got = make(
            world.own, x, caption(), guidance=guidance, steps=1, others=world, together=together
        )
        times = world.own.calls[0].times
        v = flat(gaussian(0)(x, times, caption()))
        away = flat(other(x, times, conditions))
        torch.testing.assert_close(flat(got), flat(x) - (2 * v - away), rtol=1e-9, atol=1e-9)


def test_sync_cfg_is_added_by_sum() -> None:
    """The changes of both add up, and the conditional pass is shared."""
    world, x = World(), latents()
    results = {
        name: flat(make(world.own, x, caption(), guidance=g, steps=1, others=world))
        for name, g in (
            ("none", Sum(())),
            ("weak", WEAK),
            ("sync", SYNC),
            ("sum", Sum((WEAK, SYNC))),
        )
    }
    plain = results["none"]
    want = results["weak"] + results["sync"] - plain
    torch.testing.assert_close(results["sum"], want, rtol=1e-9, atol=1e-9)
    assert demands(Sum((WEAK, SYNC))).most == 4


def test_a_known_beginning_is_known_to_the_other_model_too() -> None:
    world, x = World(), latents()
    begin = x.map(lambda v: torch.full_like(v[:, :1], 0.25))
    got = make(world.own, x, caption(), guidance=WEAK, begin=begin, others=world)
    for stream in got:
        assert torch.equal(got[stream][:, :1], begin[stream])
        assert torch.equal(world.weak.calls[0].av[stream][:, :1], begin[stream])


def test_hints_and_drops_are_those_of_the_named_model() -> None:
    world = World()
    make(world.own, latents(), caption(), guidance=Away("weak", hints=("blur",)), others=world)
    assert all(call.hints == {"blur"} for call in world.weak.calls)
    with pytest.raises(PartContractError, match="'other' with the hint blur"):
        make(
            world.own,
            latents(),
            caption(),
            guidance=attrs.evolve(DOG, hints=("blur",)),
            others=world,
        )
    with pytest.raises(PartContractError, match=r"'other' with the hint sharpen.*supports blur"):
        make(
            world.own, latents(), caption(), guidance=Away("weak", hints=("sharpen",)), others=world
        )
    calls = len(world.weak.calls)
    make(world.own, latents(), caption(), guidance=Away("weak", drop=("caption",)), others=world)
    for call in world.weak.calls[calls:]:
        assert torch.equal(call.conditions["caption"].tokens, torch.zeros(4, 1, SIZE).double())


def test_what_the_sampler_was_not_given_is_named() -> None:
    for guidance, what in ((WEAK, "the model 'weak'"), (DOG, "other words")):
        with pytest.raises(PartContractError, match=f"pass 'other' needs {what}.*`others`"):
            make(gaussian(), latents(), caption(), guidance=guidance)
    broken = World()
    broken.weak.after = lambda _, v: AV(video=v["video"])
    with pytest.raises(PartContractError, match=r"GaussianDenoiser|Recorded of weak at step 1"):
        make(broken.own, latents(), caption(), guidance=WEAK, others=broken)


def test_words_are_texts_of_a_prompt() -> None:
    times = StepTimes(1.0, 1.0)
    assert Pass("a", times, words={"sound": "b", "caption": "c"}) == Pass(
        "d", times, words=[("caption", "c"), ("sound", "b")]
    )
    assert Pass("a", times, words={"sound": "b"}) != Pass("a", times) != Pass("a", times, model="m")
    with pytest.raises(ValueError, match="caption, sound, speech, not image"):
        Pass("a", times, words={"image": "b"})
    with pytest.raises(ValueError, match="`drop` for the null form"):
        Pass("a", times, words={"sound": None})  # type: ignore[dict-item]


def test_demands_name_models_once_and_only_own_hints() -> None:
    found = demands(Sum((Away("weak", hints=("blur",)), Away("weak"), Away("weaker"), CFG())))
    assert found.models == ("weak", "weaker")
    assert found.hints == frozenset()
    assert demands(Window(WEAK, 0.3, 0.6)).models == ("weak",)


@pytest.mark.parametrize("guidance", [WEAK, DOG], ids=repr)
def test_they_meet_the_contract(guidance: Any) -> None:
    check_guidance(guidance)


@pytest.mark.parametrize(("guidance", "holds"), cases(WEAK, DOG))
def test_they_have_every_property(guidance: Any, holds: Any) -> None:
    holds(guidance, examples=5)
