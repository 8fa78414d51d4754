"""Whole runs against diffusers' Kandinsky6TI2VAPipeline, from the text to the sound."""

from __future__ import annotations

import kandinsky6_toys as toys
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Kandinsky6TI2VAPipeline
from transformers import ByT5Tokenizer

from harmony_diffusers.flow_match import FlowMatchShift
from harmony_kandinsky6.denoiser import Kandinsky6
from harmony_parts.av import AV, Prompt
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.straight import StraightPath
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.sample.sampler import sample
from harmony_parts.testing.contracts.encoders import check_encoder

PROMPT, NEGATIVE = "a dog barks", "worst quality"
STEPS, SHIFT = 3, 3.0


class Bytes:
    """The tokenizer of the text model, called as its processor is."""

    def __call__(self, text, images=None, videos=None, **settings):
        return ByT5Tokenizer()(text, **settings)


@pytest.fixture(scope="module")
def both():
    """Our parts, and diffusers' pipeline over the same models."""
    parts = toys.parts()
    parts.text = toys.text(negative=NEGATIVE).build(format=toys.FORMAT, codecs=parts.codecs)
    parts.denoiser = Kandinsky6(config=toys.RELEASED, precision="float32").build(
        codecs=parts.codecs, encoders={"text": parts.text}
    )
    audio = parts.codecs["audio"]
    from diffusers import MMAudioVAE

    whole = MMAudioVAE(**toys.AUDIO)
    whole.vae = audio.frozen.models[0]
    pipeline = Kandinsky6TI2VAPipeline(
        transformer=parts.denoiser.frozen.models[0],
        vae=parts.codecs["video"].frozen.models[0],
        text_encoder=parts.text.frozen.models[0],
        tokenizer=Bytes(),
        text_encoder_2=parts.text.frozen.models[1],
        tokenizer_2=ByT5Tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        audio_vae=whole,
        vocoder=audio.frozen.models[1],
    )
    pipeline.set_progress_bar_config(disable=True)
    return parts, pipeline


def theirs(pipeline, noise, output_type, scale, seen=None):
    """The pipeline's result for the noise; `seen` gets its latents after every step."""

    def watch(pipe, step, t, tensors):
        if seen is not None:
            seen.append(AV(tensors["latents"].clone(), tensors["audio_latents"].clone()))
        return {}

    return pipeline(
        PROMPT,
        negative_prompt=NEGATIVE,
        height=32,
        width=48,
        num_frames=17,
        num_inference_steps=STEPS,
        guidance_scale=scale,
        max_sequence_length=toys.LENGTH,
        latents=noise["video"].permute(0, 4, 1, 2, 3),
        audio_latents=noise["audio"].transpose(1, 2),
        output_type=output_type,
        return_dict=False,
        callback_on_step_end=watch,
        callback_on_step_end_tensor_inputs=["latents", "audio_latents"],
    )


def ours(parts, noise, guidance, solver=None):
    """The sampler's result for the noise."""
    return sample(
        parts.denoiser,
        noise,
        parts.text([Prompt(caption=PROMPT)]),
        codecs=parts.codecs,
        guidance=guidance,
        solver=solver or Euler(),
        shift=FlowMatchShift(SHIFT),
        path=StraightPath(),
        steps=STEPS,
    )


class Watched(torch.nn.Module):
    """A denoiser that keeps the latents of its calls."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.accepts, self.hints, self.seen = inner, inner.accepts, inner.hints, []
        self.blocks = inner.blocks

    def forward(self, av, times, conditions, **settings):
        self.seen.append(toys.row(av, 0))
        return self.inner(av, times, conditions, **settings)


@pytest.mark.parametrize("scale", [5.0, 1.0])
def test_every_step_equals_the_pipelines(both, scale):
    """Its own scheduler and times, with text guidance and without; bound: float32 over steps."""
    parts, pipeline = both
    noise, steps = toys.noise(), []
    video, audio = theirs(pipeline, noise, "latent", scale, steps)
    watched = Watched(parts.denoiser)
    guidance = CFG(video=scale, audio=scale, drop=("caption", "pooled"))
    whole = ours(type(parts)(**vars(parts) | {"denoiser": watched}), noise, guidance)
    starts = [av for n, av in enumerate(watched.seen) if n % (len(watched.seen) // STEPS) == 0]
    for mine, their in zip([*starts[1:], whole], steps, strict=True):
        assert toys.same(mine, their, 5e-5)
    assert torch.allclose(whole["video"], video.permute(0, 2, 3, 4, 1), atol=5e-5)
    assert torch.allclose(whole["audio"], audio.transpose(1, 2), atol=5e-5)
    if scale != 1:
        assert not toys.same(whole, ours(parts, noise, NoGuidance()), 1e-3)


def test_the_clip_equals_the_pipelines(both):
    """Frames up to rounding, and the sound."""
    parts, pipeline = both
    noise = toys.noise(2)
    video, audio = theirs(pipeline, noise, "pt", 5.0)
    made = ours(parts, noise, CFG(video=5, audio=5, drop=("caption", "pooled")))
    frames = parts.codecs["video"].decode(made["video"])
    sound = parts.codecs["audio"].decode(made["audio"])
    assert (frames / 255 - video.permute(0, 1, 3, 4, 2)).abs().max() < 0.51 / 255
    assert sound.shape == (1, 1, toys.SOUNDS * 1024)
    assert torch.allclose(sound[:, 0], audio, atol=1e-5)


def test_texts_equal_the_pipelines(both):
    """Tokens, mask and pooled token; the null form is the negative text's."""
    parts, pipeline = both
    texts = ["a dog barks twice", "é" * 20, "x"]
    said = parts.text([Prompt(caption=text) for text in texts])
    tokens, pooled, mask, *null = pipeline.encode_prompt(
        texts, NEGATIVE, max_sequence_length=toys.LENGTH
    )
    for form, their in (
        (said, (tokens, pooled, mask)),
        ({name: condition.null for name, condition in said.items()}, null),
    ):
        of = form["caption"]
        assert torch.equal(of.mask, their[2])
        assert torch.allclose(of.tokens, their[0], atol=1e-5)
        assert torch.allclose(form["pooled"].tokens[:, 0], their[1], atol=1e-5)


def test_a_text_is_made_of_marked_pieces(both):
    """Without any field it is the null form; the pipeline's own negative text by default."""
    parts, _ = both
    said = parts.text([Prompt("a dog", "barking", "good boy"), Prompt()])
    whole = parts.text([Prompt("a dog <S>good boy<E> <AUDCAP>barking<ENDAUDCAP>")])
    assert torch.equal(said["caption"].tokens[0], whole["caption"].tokens[0])
    for condition in said.values():
        assert torch.equal(condition.tokens[1], condition.null.tokens[1])
        assert not torch.equal(condition.tokens[0], condition.null.tokens[0])
    own = toys.text().build(format=toys.FORMAT, codecs=parts.codecs)([Prompt()])
    named = toys.text(negative=Kandinsky6TI2VAPipeline._DEFAULT_NEGATIVE_PROMPT)
    again = named.build(format=toys.FORMAT, codecs=parts.codecs)([Prompt()])
    assert torch.equal(own["caption"].tokens, again["caption"].tokens)


@pytest.mark.filterwarnings("ignore:a text of .* tokens:UserWarning")
def test_the_encoder_keeps_its_contract():
    check_encoder(toys.text(length=880), toys.FORMAT, AV())
    with pytest.raises(ValueError, match="config and clip_config go together"):
        toys.text(clip_config={})
