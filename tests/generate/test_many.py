"""Several clips at once: the clips of `generate`, in order, in few calls; and progress."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.errors import RequestError
from harmony_parts.flow.heun import Heun
from harmony_parts.generate.generated import Generated
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.request import Request
from harmony_parts.guidance.cfg import CFG
from harmony_parts.media.clip import Clip
from harmony_parts.sample.sampler import Step
from harmony_parts.testing.contracts.tested import perturbed

PROMPTS = ["a ball", "a hammer strikes twice", ""]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    fresh = Pipeline.assemble(tiny.recipe())
    perturbed(fresh.weights)
    return fresh


@pytest.fixture
def sizes(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of clips of each call of the sampler."""
    seen: list[int] = []
    plain = pipeline.latents

    def latents(prompts: Any, **arguments: Any) -> Any:
        seen.append(len(prompts))
        return plain(prompts, **arguments)

    monkeypatch.setattr(pipeline, "latents", latents)
    return seen


def same(one: Generated, other: Generated) -> bool:
    return torch.equal(one.frames, other.frames) and torch.equal(one.waveform, other.waveform)


def alike(one: Generated, other: Generated) -> bool:
    """Up to rounding of the latents, which a codec may round to another level."""
    seen = (one.frames.float() - other.frames.float()).abs().mean() < 1
    return bool(seen and (one.waveform - other.waveform).abs().max() < 0.05)


def test_one_by_one_they_are_those_of_generate(pipeline: Pipeline, sizes: list[int]) -> None:
    many = pipeline.generate_many(PROMPTS, seeds=[3, 4, 5], steps=2, guidance=CFG())
    assert sizes == [1, 1, 1]
    for prompt, seed, clip in zip(PROMPTS, (3, 4, 5), many, strict=True):
        assert same(clip, pipeline.generate(prompt, seed=seed, steps=2, guidance=CFG()))
    assert not alike(many[0], many[1])


def test_in_batches_they_are_alike(pipeline: Pipeline, sizes: list[int]) -> None:
    many = pipeline.generate_many(PROMPTS, seeds=7, batch=2, steps=2, sound="a knock")
    assert sizes == [2, 1]
    for prompt, clip in zip(PROMPTS, many, strict=True):
        assert alike(clip, pipeline.generate(prompt, sound="a knock", seed=7, steps=2))


def test_one_prompt_has_many_seeds(pipeline: Pipeline, sizes: list[int]) -> None:
    first, second = pipeline.generate_many("a ball", seeds=[1, 2], batch=8, steps=1)
    assert sizes == [2]
    assert alike(second, pipeline.generate("a ball", seed=2, steps=1))
    assert not alike(first, second)


def test_requests_of_all_kinds_come_back_in_order(pipeline: Pipeline, sizes: list[int]) -> None:
    """What can't share a batch doesn't; what a request says isn't replaced."""
    clip = Clip(torch.zeros(8, 16, 16, 3, dtype=torch.uint8), 8, torch.zeros(1, 4000), 4000)
    sound = attrs.evolve(clip, frames=None)
    requests = [
        Request(prompt="a ball", seed=5),
        Request(prompt="a bell", seconds=0.5),
        "a hammer",
        Request(video=clip, seed=6),
        Request(audio=sound),
        Request(audio=sound, prompt="a ball", seed=2),
        Request(begin=clip, seconds=0.5),
        Request(steps=1),
        Request(solver=Heun()),
    ]
    made = pipeline.generate_many(requests, batch=4, steps=2)
    assert sizes == [1, 1, 1, 1, 2, 1, 1, 1]
    for request, clip in zip(requests, made, strict=True):
        request = Request(prompt=request) if isinstance(request, str) else request
        single = attrs.evolve(request, steps=request.steps or 2)
        assert alike(clip, pipeline.run(single))


def test_what_is_wrong_is_told_before_anything_is_sampled(
    pipeline: Pipeline, sizes: list[int]
) -> None:
    for wrong, message in [
        ((["a", 3], {}), "prompts are strings or Requests, not 3"),
        ((["a", "b"], {"seeds": [1, 2, 3]}), "there are 2 prompts and 3 seeds"),
        ((["a", "b"], {"seeds": [1, -1]}), "clip 2: seed must be a whole number"),
        ((["a", Request(audio="no.wav")], {}), "clip 2: audio: no.wav: no such file"),
        ((["a"], {"batch": 0}), "batch must be a whole number of at least 1, not 0"),
    ]:
        (prompts, settings) = wrong
        with pytest.raises(RequestError, match=message):
            pipeline.generate_many(prompts, **settings)
    assert not sizes
    assert pipeline.generate_many([]) == []


def test_progress_is_over_all_clips(pipeline: Pipeline) -> None:
    steps: list[Step] = []
    pipeline.generate_many(["a", "b", "c"], batch=2, steps=3, progress=steps.append)
    assert [step.done for step in steps] == [2, 4, 6, 7, 8, 9]
    assert {step.steps for step in steps} == {9}


def test_there_is_a_bar_unless_it_is_turned_off(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Lines here, since stderr is no terminal; quick work prints none."""
    pipeline.generate("a ball", steps=3)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr("harmony_parts.report.pace.FIRST", 0.0)
    pipeline.generate("a ball", steps=3)
    assert "sampling: 2 of 3, about 0 s left" in capfd.readouterr().err
    pipeline.generate_many(["a", "b"], steps=2)
    assert "sampling 2 clips: 2 of 4, about" in capfd.readouterr().err
    pipeline.generate("a ball", steps=3, progress=False)
    pipeline.generate_many(["a", "b"], steps=2, progress=False)
    assert capfd.readouterr().err == ""
