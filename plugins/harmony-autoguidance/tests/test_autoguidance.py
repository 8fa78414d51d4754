"""The contract, every property, and an earlier checkpoint of a run as the weaker model."""

from __future__ import annotations

import attrs
import pytest
import torch
from harmony_autoguidance.autoguidance import Autoguidance

import harmony_parts as hp
from harmony_parts.cost.figures import account_or_reason, build_empty
from harmony_parts.cost.report import memory_lines, pass_lines
from harmony_parts.testing.contracts.guidance import check_guidance
from harmony_parts.testing.guidance_properties import cases
from harmony_parts.train.loop import train

EACH = (Autoguidance("weak"), Autoguidance("weak", video=1.5, audio=1), Autoguidance("a/b", 0, 3))
SMALL = [
    "denoiser.layers=1",
    "denoiser.interaction.attention=reference",
    "format.seconds=0.5",
    "train.steps=4",
    "train.batch=2",
    "train.prepared=4",
    "train.checkpoint_every=2",
    "data.size=8",
    "sample.steps=2",
]


@pytest.mark.parametrize("guidance", EACH, ids=repr)
def test_contract(guidance):
    check_guidance(guidance)


@pytest.mark.parametrize(("guidance", "holds"), cases(*EACH))
def test_property(guidance, holds):
    holds(guidance)


@pytest.mark.parametrize("wrong", [{"model": ""}, {"video": -1}], ids=str)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Autoguidance(**{"model": "weak", **wrong})


def test_an_earlier_checkpoint_of_the_run_guides(tmp_path):
    """Scales of 0 give it, scales of 1 the model; it adds to SyncCFG; explain counts it."""
    run = tmp_path / "run"
    train(hp.read_recipe("demo", SMALL), out=run, progress=False, device="cpu")
    early = str(run / "checkpoints" / "step-0000002")
    pipeline, weak = hp.load(run), hp.load(early)
    prompt, seeds = [hp.Prompt("a red ball")], [0]

    def made(pipeline, guidance):
        found = pipeline.latents(prompt, seeds=seeds, guidance=guidance)
        return torch.cat([found[s].flatten() for s in found])

    none = hp.NoGuidance()
    assert torch.equal(made(pipeline, Autoguidance(early, 0, 0)), made(weak, none))
    assert torch.equal(made(pipeline, Autoguidance(early, 1, 1)), made(pipeline, none))
    guided = made(pipeline, hp.SumGuidance((Autoguidance(early), hp.SyncCFG())))
    assert torch.isfinite(guided).all()
    assert not torch.equal(guided, made(pipeline, hp.SyncCFG()))
    sampling = attrs.evolve(pipeline.recipe.sample, guidance=Autoguidance(early))
    recipe = attrs.evolve(pipeline.recipe, sample=sampling)
    parts = build_empty(recipe)
    account = account_or_reason(recipe, parts, "float32")
    assert f"weights of {early}" in memory_lines(account)[0]
    assert account.others == {early: account.weights_bytes}
    assert any(f"by {early}" in line for line in pass_lines(recipe, parts))
    each = account.tasks["joint"]
    assert each["joint"] == each["weak"]
