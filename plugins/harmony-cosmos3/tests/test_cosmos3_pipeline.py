"""Whole runs against diffusers' Cosmos3OmniPipeline, from the text to the sound."""

from __future__ import annotations

import cosmos3_toys as toys
import pytest
import torch

from harmony_cosmos3.text import Cosmos3Text
from harmony_diffusers.flow_match import FlowMatchShift
from harmony_parts.av import AV, Prompt
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.straight import StraightPath
from harmony_parts.flow.unipc import UniPC
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.sample.sampler import sample

PROMPT, NEGATIVE, STEPS = "a dog barks.", "worst quality", 6


@pytest.fixture(scope="module")
def both():
    """Our parts, and diffusers' pipeline over the same models."""
    parts = toys.parts()
    pipeline = toys.pipeline(parts)
    pipeline.scheduler = toys.Whole(**toys.SCHEDULER)
    pipeline._callback_tensor_inputs = ["latents", "sound_latents"]
    return parts, pipeline


@pytest.fixture(scope="module")
def text(model):
    return Cosmos3Text(model=str(model), negative=NEGATIVE).build(format=toys.FORMAT, codecs=AV())


def theirs(pipeline, noise, scale, output="latent", seen=None, **settings):
    """The pipeline's video and sound for the noise; `seen` gets its latents after every step."""

    def watch(pipe, step, t, tensors):
        if seen is not None:
            video, sound = tensors["latents"], tensors["sound_latents"]
            seen.append(AV(video.permute(0, 2, 3, 4, 1).clone(), sound.T[None].clone()))
        return {}

    return pipeline(
        PROMPT,
        negative_prompt=NEGATIVE,
        num_frames=17,
        height=32,
        width=48,
        fps=24.0,
        num_inference_steps=STEPS,
        guidance_scale=scale,
        enable_sound=True,
        latents=noise["video"].permute(0, 4, 1, 2, 3),
        sound_latents=noise["audio"][0].T,
        output_type=output,
        return_dict=False,
        callback_on_step_end=watch,
        callback_on_step_end_tensor_inputs=["latents", "sound_latents"],
        **settings,
    )


def ours(parts, noise, said, guidance, solver=None, steps=None):
    """The sampler's result for the noise; `steps` gets the latents after every step."""
    return sample(
        parts.denoiser,
        noise,
        said | {"image": toys.conditions()["image"]},
        codecs=parts.codecs,
        guidance=guidance,
        solver=solver or UniPC(),
        shift=FlowMatchShift(5.0, "unipc"),
        path=StraightPath(),
        steps=STEPS,
        progress=None if steps is None else lambda step: steps.append(step.latents),
    )


@pytest.mark.parametrize("scale", [6.0, 1.0])
def test_every_step_equals_the_pipelines(both, text, scale):
    """With its UniPC, with text guidance and without; the bound is float32's over the steps."""
    parts, pipeline = both
    noise, want, got = toys.noise(), [], []
    theirs(pipeline, noise, scale, seen=want)
    said = text([Prompt(PROMPT)])
    guidance = CFG(video=scale, audio=scale)
    whole = ours(parts, noise, said, guidance, steps=got)
    # after its last step the pipeline tells the latents, too
    assert len(got) == len(want) == STEPS
    for mine, their in zip(got, want, strict=True):
        assert toys.same(mine, their, 1e-4)
    assert not toys.same(ours(parts, noise, said, guidance, Euler()), whole, 1e-3)
    if scale != 1:
        assert not toys.same(whole, ours(parts, noise, said, NoGuidance()), 1e-3)


def test_the_clip_equals_the_pipelines(both, text):
    """Frames up to rounding, and both channels of the sound."""
    parts, pipeline = both
    noise = toys.noise(2)
    video, sound = theirs(pipeline, noise, 6.0, "pt")
    made = ours(parts, noise, text([Prompt(PROMPT)]), CFG(video=6, audio=6))
    frames = parts.codecs["video"].decode(made["video"])
    assert (frames[0] / 255 - video.permute(0, 2, 3, 1)).abs().max() < 0.6 / 255
    assert torch.allclose(parts.codecs["audio"].decode(made["audio"])[0], sound, atol=1e-4)


def test_texts_equal_the_pipelines(both, text):
    """The numbers of tokens, without a full stop of the text's own; shorter ones are masked."""
    _, pipeline = both
    prompts = ["a dog barks twice.", "é", ""]
    said = text([Prompt(each or None) for each in prompts])["caption"]
    for n, prompt in enumerate(prompts):
        positive, negative = pipeline.tokenize_prompt(prompt, NEGATIVE, 17, 32, 48, 24.0)
        for form, ids in ((said, positive if prompt else negative), (said.null, negative)):
            assert form.tokens[n, form.mask[n], 0].tolist() == ids
            assert form.mask[n].sum() == len(ids)


def test_a_text_is_cut_with_a_warning(model):
    """The last two tokens stay. Without an instruction and a sentence the text is alone."""
    spec = Cosmos3Text(model=str(model), length=12, system="", about="", not_about="")
    short = spec.build(format=toys.FORMAT, codecs=AV())
    with pytest.warns(UserWarning, match=r"is cut after 10; raise cosmos3-text's setting"):
        said = short([Prompt("a very long text")])["caption"]
    assert said.tokens.shape == (1, 12, 1)
    end = toys.tokenizer().eos_token_id, toys.tokenizer().convert_tokens_to_ids("<|vision_start|>")
    assert said.tokens[0, -2:, 0].tolist() == list(end)
    with torch.device("meta"):
        empty = spec.build(format=toys.FORMAT, codecs=AV())([Prompt("x")])["caption"]
    assert empty.tokens.shape == (1, 12, 1)


def test_an_image_is_a_clean_first_latent_as_in_the_pipeline(both, text):
    """Its first frame is left out of the noisy ones; the others equal the pipeline's."""
    parts, pipeline = both
    noise = toys.noise(3)
    pixels = torch.randint(0, 256, (32, 48, 3), generator=torch.Generator().manual_seed(4))
    image = (pixels.permute(2, 0, 1)[None] / 127.5 - 1).float()
    known = parts.codecs["video"].encode(pixels[None, None].to(torch.uint8))
    begun = noise.replace(video=torch.cat([known, noise["video"][:, 1:]], dim=1))
    want: list[AV] = []
    theirs(pipeline, begun, 1.0, seen=want, image=image)
    said = text([Prompt(PROMPT)]) | {"image": toys.picture(known, torch.ones(1, 1).bool())}
    made = sample(
        parts.denoiser,
        noise,
        said,
        codecs=parts.codecs,
        guidance=NoGuidance(),
        solver=UniPC(),
        shift=FlowMatchShift(5.0, "unipc"),
        path=StraightPath(),
        steps=STEPS,
    )
    assert toys.same(made, want[-1], 2e-4)
    assert torch.allclose(made["video"][:, :1], known, atol=1e-5)
