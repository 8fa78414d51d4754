"""Clips that start from a draft: what stays of it, its length, its streams, and windows."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.av import AV
from harmony_parts.errors import RequestError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.request import STRENGTH, Request
from harmony_parts.media.clip import Clip
from harmony_parts.testing.contracts.tested import perturbed


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    fresh = Pipeline.assemble(tiny.recipe())
    perturbed(fresh.weights)
    return fresh


def clip(pipeline: Pipeline, frames: int, seed: int = 0) -> Clip:
    """A picture that gets brighter, and a tone."""
    format = pipeline.format
    light = torch.linspace(20 + 40 * seed, 200, frames)[:, None, None, None]
    time = torch.arange(format.samples(frames)) / format.sample_rate
    return Clip(
        light.expand(-1, format.height, format.width, 3).to(torch.uint8),
        format.fps,
        (0.3 * (2000 + 500 * seed) * time).sin()[None],
        format.sample_rate,
    )


def distance(one: Clip, other: Clip) -> tuple[float, float]:
    """Mean differences of the pictures' levels and of the samples."""
    seen = (one.frames.float() - other.frames.float()).abs().mean()
    return float(seen), float((one.waveform - other.waveform).abs().mean())


def test_the_less_noise_the_more_of_the_draft_stays(pipeline: Pipeline) -> None:
    """Almost none: what the codecs make of it. Only noise: the clip without a draft."""
    draft = clip(pipeline, 6)
    (decoded,) = pipeline.decode(pipeline.encode([draft]), 6)
    far = [
        distance(pipeline.generate("a ball", draft=draft, strength=s).clip, decoded)
        for s in (1e-4, 0.3, 0.6)
    ]
    assert far == sorted(far)
    assert far[0][0] < 1
    assert far[1][0] > 2
    plain = pipeline.generate("a ball", seconds=0.75)
    forgotten = pipeline.generate("a ball", draft=draft, strength=1.0)
    assert torch.equal(plain.frames, forgotten.frames)
    assert torch.equal(plain.waveform, forgotten.waveform)
    default = pipeline.generate("a ball", draft=draft)
    named = pipeline.generate("a ball", draft=draft, strength=STRENGTH)
    assert torch.equal(default.frames, named.frames)
    assert not torch.equal(default.frames, pipeline.generate("rain", draft=draft).frames)


@pytest.mark.parametrize("stream", ["audio", "video"])
def test_a_given_stream_takes_the_place_of_the_draft_s(pipeline: Pipeline, stream: str) -> None:
    """The draft's own doesn't matter, and may be absent; the given one is kept."""
    draft, other = clip(pipeline, 6), clip(pipeline, 6, seed=1)
    part = {"audio": "waveform", "video": "frames"}[stream]
    made = pipeline.generate(draft=draft, strength=0.5, **{stream: other}).clip
    alone = attrs.evolve(draft, **{part: None})
    same = pipeline.generate(draft=alone, strength=0.5, **{stream: other}).clip
    assert torch.equal(getattr(made, part), getattr(other, part))
    assert torch.equal(made.frames, same.frames)
    assert torch.equal(made.waveform, same.waveform)
    left = {"audio": "frames", "video": "waveform"}[stream]
    plain = pipeline.generate(**{stream: other}).clip
    assert not torch.equal(getattr(made, left), getattr(plain, left))


def test_a_draft_of_one_stream_leaves_the_other_to_noise(pipeline: Pipeline) -> None:
    """What is asked of the model: each stream at its own time."""
    silent = attrs.evolve(clip(pipeline, 6), waveform=None)
    made = pipeline.generate(draft=silent, strength=1e-4).clip
    (decoded,) = pipeline.decode(pipeline.encode([silent]), 6)
    assert (made.frames.float() - decoded.frames.float()).abs().mean() < 1
    assert made.waveform.shape == (1, pipeline.format.samples(6))


def test_the_clip_is_as_long_as_the_draft(pipeline: Pipeline) -> None:
    """Or as the given stream, if that is shorter, or as asked."""
    inputs = Request(draft=clip(pipeline, 9)).inputs(pipeline.format)
    assert inputs.frames == 9
    shorter = Request(draft=clip(pipeline, 9), audio=clip(pipeline, 7)).inputs(pipeline.format)
    assert shorter.frames == 7
    longer = Request(draft=clip(pipeline, 7), audio=clip(pipeline, 9)).inputs(pipeline.format)
    assert longer.frames == 7
    asked = Request(draft=clip(pipeline, 9), seconds=0.25).inputs(pipeline.format)
    assert asked.frames == round(0.25 * pipeline.format.fps)
    with pytest.raises(RequestError, match=r"2 s are requested, and the draft lasts"):
        Request(draft=clip(pipeline, 9), seconds=2).inputs(pipeline.format)


def test_a_draft_of_another_format_is_brought_to_the_model_s(pipeline: Pipeline) -> None:
    large = Clip(torch.zeros(25, 40, 50, 3, dtype=torch.uint8), 25, torch.zeros(2, 44100), 44100)
    made = pipeline.generate(draft=large).clip
    assert made.frames.shape[1:] == (pipeline.format.height, pipeline.format.width, 3)
    assert len(made.frames) == pipeline.format.fps
    assert made.sample_rate == pipeline.format.sample_rate


def test_a_batch_of_drafts_is_each_by_itself(pipeline: Pipeline) -> None:
    """Drafts with the same streams share a batch; others don't."""
    drafts = [clip(pipeline, 6), clip(pipeline, 6, seed=1)]
    requests = [Request(prompt="a ball", draft=each, strength=0.5) for each in drafts]
    requests.append(Request(draft=attrs.evolve(drafts[0], waveform=None), strength=0.5))
    many = pipeline.generate_many(requests, batch=3, seeds=4)
    for made, request in zip(many, requests, strict=True):
        one = pipeline.run(attrs.evolve(request, seed=4))
        assert (made.frames.float() - one.frames.float()).abs().mean() < 1
        assert (made.waveform - one.waveform).abs().max() < 0.05


def test_windows_start_from_their_part_of_the_draft(pipeline: Pipeline) -> None:
    """With almost no noise, what follows the beginning is what the draft has there."""
    draft = clip(pipeline, 16)
    begin = attrs.evolve(
        draft, frames=draft.frames[:6], waveform=draft.waveform[:, : pipeline.format.samples(6)]
    )
    made = pipeline.generate(begin=begin, draft=draft, strength=1e-4).clip
    assert len(made.frames) == 16
    assert (made.frames.float() - draft.frames.float()).abs().mean() < 6
    with pytest.raises(RequestError, match=r"and the draft 0\.75 s from the start of begin"):
        pipeline.generate(begin=draft, draft=begin)


def test_latents_take_a_draft_of_latents(pipeline: Pipeline) -> None:
    draft = pipeline.encode([clip(pipeline, 6)])
    prompts = [Request(prompt="a ball").inputs(pipeline.format).prompt]
    made = pipeline.latents(prompts, seeds=[0], frames=6, draft=draft, strength=1e-4)
    for stream in draft:
        torch.testing.assert_close(made[stream], draft[stream], rtol=0, atol=0.01)
    with pytest.raises(RequestError, match="strength must be a number above 0"):
        pipeline.latents(prompts, seeds=[0], frames=6, draft=AV(), strength=2)


def test_the_provenance_tells_of_the_draft(pipeline: Pipeline, tmp_path: Path) -> None:
    from harmony_parts.generate.provenance import provenance_of

    file = clip(pipeline, 6).save(tmp_path / "draft.mp4")
    told = provenance_of(pipeline.recipe, "", Request(draft=file, strength=0.5))
    assert told["strength"] == 0.5
    assert told["draft"]["file"] == "draft.mp4"
