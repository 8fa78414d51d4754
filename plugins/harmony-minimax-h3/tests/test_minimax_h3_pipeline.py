"""Whole runs against diffusers' MiniMaxH3ModularPipeline, from the text to the sound."""

from __future__ import annotations

from types import SimpleNamespace

import minimax_h3_toys as toys
import pytest
import torch
from diffusers.modular_pipelines.minimax_h3 import encoders
from diffusers.modular_pipelines.minimax_h3.denoise import MiniMaxH3DenoiseStep

from harmony_diffusers.flow_match import FlowMatchShift
from harmony_parts.av import AV, Prompt
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.straight import StraightPath
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.sample.sampler import sample

PROMPT, STEPS = "a dog barks", 6


@pytest.fixture(scope="module")
def both():
    """Our parts, and diffusers' pipeline over the same models."""
    parts = toys.parts()
    return parts, toys.pipeline(parts)


@pytest.fixture(scope="module")
def text(model):
    return toys.text(model=str(model)).build(format=toys.FORMAT, codecs=AV())


def theirs(pipeline, noise, seen, monkeypatch):
    """The pipeline's state for the noise; `seen` gets its latents after every step."""

    def watched(self, components, block_state, **settings):
        made = step(self, components, block_state, **settings)
        video, sound = block_state.latents.clone(), block_state.audio_latents.clone()
        both = toys.unpatched(video), torch.cat(list(sound.split(toys.SOUNDS)), 1)
        seen.append(AV(*(each[None] for each in both)))
        return made

    step = MiniMaxH3DenoiseStep.loop_step
    monkeypatch.setattr(MiniMaxH3DenoiseStep, "loop_step", watched)
    return pipeline(
        prompt=PROMPT,
        height=32,
        width=64,
        num_frames=22,
        num_inference_steps=STEPS + 1,  # it counts the end
        latents=noise["video"].permute(0, 4, 1, 2, 3),
        audio_latents=torch.stack(noise["audio"][0].split(toys.SIDE, 1)).transpose(1, 2),
        output_type="pt",
    )


def ours(parts, noise, said, shifts=(12.0, 3.0), steps=None):
    """The sampler's result for the noise; `steps` gets the latents after every step."""
    return sample(
        parts.denoiser,
        noise,
        said | {"image": toys.conditions()["image"]},
        codecs=parts.codecs,
        guidance=NoGuidance(),
        solver=Euler(),
        shift=StreamShifts(*(FlowMatchShift(shift, "plain") for shift in shifts)),
        path=StraightPath(),
        steps=STEPS,
        progress=None if steps is None else lambda step: steps.append(step.latents),
    )


def test_every_step_and_the_clip_equal_the_pipelines(both, text, monkeypatch):
    """Each stream along its own times; frames up to rounding, and both sides of the sound."""
    parts, pipeline = both
    noise, want, got = toys.noise(), [], []
    state = theirs(pipeline, noise, want, monkeypatch)
    said = text([Prompt(PROMPT)])
    whole = ours(parts, noise, said, steps=got)
    assert len(got) == len(want) == STEPS
    for mine, their in zip(got, want, strict=True):
        assert toys.same(mine, their, 1e-4)
    assert not toys.same(ours(parts, noise, said, (3.0, 12.0)), whole, 1e-2)
    assert not toys.same(ours(parts, noise, text([Prompt("rain")])), whole, 1e-3)
    frames = parts.codecs["video"].decode(whole["video"]) / 255
    videos = state.get("videos").permute(0, 1, 3, 4, 2)
    assert (frames - videos).abs().max() < 0.6 / 255
    sound = parts.codecs["audio"].decode(whole["audio"])
    assert torch.allclose(sound, state.get("audio"), atol=1e-4)


def test_texts_equal_the_pipelines(both, text):
    """Each by itself, without special tokens; shorter ones are masked, and one alone is equal."""
    _, pipeline = both
    prompts = ["a dog barks twice", "é", ""]
    said = text([Prompt(each or None) for each in prompts])["caption"]
    layer = {"text_encoder_layer": toys.LAYER, "dtype": torch.float32}
    for n, prompt in enumerate(prompts):
        ids = pipeline.tokenizer(prompt or " ", add_special_tokens=False).input_ids
        want = encoders.get_qwen3vl_prompt_embeds(
            pipeline.text_encoder, pipeline.processor, ids, device="cpu", **layer
        )[0]
        assert said.mask[n].sum() == len(ids)
        assert torch.allclose(said.tokens[n, said.mask[n]], want, atol=1e-6)
        assert said.mask[n, : len(ids)].all()
    null = said.null
    assert all(torch.equal(null.tokens[n], said.tokens[2]) for n in range(3))
    later = toys.text(model=str(text.spec.model), layer=1).build(format=toys.FORMAT, codecs=AV())
    assert not torch.allclose(later([Prompt("é")])["caption"].tokens[0, :2], said.tokens[1, :2])


def test_a_text_is_cut_with_a_warning(model):
    """Once; on the meta device there are only shapes, and too few layers are refused."""
    short = toys.text(model=str(model), length=5).build(format=toys.FORMAT, codecs=AV())
    with pytest.warns(UserWarning, match=r"of 16 tokens .* is cut after 5, like all longer ones"):
        said = short([Prompt("a very long text")])["caption"]
    assert said.tokens.shape == (1, 5, toys.TEXT)
    with torch.device("meta"):
        empty = toys.text(config=toys.QWEN, length=5).build(format=toys.FORMAT, codecs=AV())
    assert empty([Prompt("x")])["caption"].tokens.shape == (1, 5, toys.TEXT)
    with pytest.raises(ValueError, match="has 3 layers, and the states after layer 3 are"):
        toys.text(model=str(model), layer=3).build(format=toys.FORMAT, codecs=AV())


def test_the_shift_is_that_of_the_folder(model):
    """12 for the video and 3 for the sound, from 1 to 0."""
    for subfolder, shift in (("scheduler", 12.0), ("audio_scheduler", 3.0)):
        saved = FlowMatchShift(model=str(model), subfolder=subfolder)
        assert (saved.times.shift, saved.times.spread) == (shift, "plain")
        pipeline = SimpleNamespace(scheduler=toys.MiniMaxH3Scheduler(shift))
        pipeline.scheduler.set_timesteps(STEPS + 1)
        u = 1 - torch.arange(STEPS + 1) / STEPS
        assert torch.allclose(saved.for_steps(STEPS)(u), pipeline.scheduler.sigmas, atol=1e-6)
