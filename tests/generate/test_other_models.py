"""Guidance by an earlier checkpoint of a run, and away from other words, through a pipeline."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from helpers import tiny_training as tiny
from torch import Tensor

from harmony_parts.av import AV, Prompt
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import CONDITIONAL, Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.train.loop import train


@attrs.frozen
class Contrast:
    """From one prompt towards another: v = v_away + s (v - v_away)."""

    away: str = ""
    model: str = ""
    scale: float = 2.0

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        words = {"caption": self.away} if self.away else {}
        return [
            conditional(times),
            Pass("away", times, model=self.model, words=words, read=times.generated()),
        ]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        own = preds[CONDITIONAL].only(times.generated())
        return own.map(lambda v, away: torch.lerp(away, v, self.scale), preds["away"]), state


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of six steps with checkpoints after the third and the sixth."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny.but(tiny.recipe(), checkpoint_every=3), out=out, progress=False, device="cpu")
    return out


def made(pipeline: Pipeline, guidance: Any, *captions: str, **more: Any) -> Tensor:
    """The latents of both streams in one row per prompt."""
    prompts = [Prompt(caption=text) for text in captions or ("a red ball",)]
    seeds = [0] * len(prompts)
    found = pipeline.latents(prompts, seeds=seeds, guidance=guidance, steps=2, **more)
    return torch.cat([found[s].flatten(1) for s in found], dim=1)


def test_a_checkpoint_is_a_model_with_the_averaged_weights(run):
    early = run / "checkpoints" / "step-0000003"
    loaded = load(early)
    average = load_tensors(early / "ema.safetensors")
    state = loaded.weights.state_dict()
    assert average
    assert all(torch.equal(state[name], value) for name, value in average.items())
    last = load(run / "checkpoints" / "step-0000006").weights.state_dict()
    finished = load(run).weights.state_dict()
    assert all(torch.equal(last[name], finished[name]) for name in finished)


def test_a_scale_of_zero_gives_the_other_model_with_its_own_encoders(run):
    early = run / "checkpoints" / "step-0000003"
    pipeline, weak = load(run), load(early)
    alone = made(weak, NoGuidance())
    assert torch.equal(made(pipeline, Contrast(model=str(early), scale=0.0)), alone)
    assert not torch.equal(made(pipeline, NoGuidance()), alone)
    # the encoders differ, so this would show conditions of the wrong model
    ours, theirs = (
        p.conditions([Prompt("a red ball")])["caption"].tokens for p in (pipeline, weak)
    )
    assert not torch.equal(ours, theirs)


def test_a_scale_of_zero_gives_the_other_words(run):
    pipeline = load(run)
    away = Contrast(away="a much longer text about a blue box", scale=0.0)
    other = made(pipeline, NoGuidance(), "a much longer text about a blue box")
    assert torch.equal(made(pipeline, away), other)
    assert not torch.equal(made(pipeline, NoGuidance()), other)
    both = made(pipeline, attrs.evolve(away, scale=3.0), "a red ball", "a dog")
    assert torch.isfinite(both).all()


def test_it_sums_with_sync_cfg_and_is_offloaded(run):
    early = str(run / "checkpoints" / "step-0000003")
    pipeline, guidance = load(run), Sum((Contrast(model=early), SyncCFG()))
    plain = made(pipeline, guidance)
    assert not torch.equal(plain, made(pipeline, SyncCFG()))
    for mode in ("parts", "layers"):
        # not bit by bit: kernels choose their order of summation by the alignment of weights
        torch.testing.assert_close(made(load(run, offload=mode), guidance), plain)


def test_a_model_is_loaded_once_and_before_sampling(run, monkeypatch):
    import harmony_parts.generate.other_models as module

    loaded: list[Any] = []
    real = module.load_parts
    monkeypatch.setattr(module, "load_parts", lambda *a: loaded.append(a[0]) or real(*a))
    early = str(run / "checkpoints" / "step-0000003")
    pipeline = load(run)
    for _ in range(2):
        made(pipeline, Contrast(model=early))
    assert loaded == [early]
    steps: list[Any] = []
    with pytest.raises(RunError, match="no such folder"):
        made(pipeline, Contrast(model=str(run / "absent")), progress=steps.append)
    assert not steps


def test_a_model_of_other_latents_is_refused(run, tmp_path):
    recipe = tiny.recipe()
    codecs = attrs.evolve(recipe.codecs, video=attrs.evolve(recipe.codecs.video, keep=4))
    Pipeline.assemble(attrs.evolve(recipe, codecs=codecs)).save(tmp_path / "other")
    with pytest.raises(RunError, match=r"its latents are others: \$.codecs.video differ"):
        made(load(run), Contrast(model=str(tmp_path / "other")))
