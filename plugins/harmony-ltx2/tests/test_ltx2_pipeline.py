"""Whole runs against diffusers' LTX2Pipeline, from the tokenizer to the vocoder."""

from __future__ import annotations

import math

import ltx2_toys as toys
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2Pipeline
from hypothesis import example, given
from hypothesis import strategies as st

from harmony_ltx2.denoiser import LTX2
from harmony_ltx2.shift import LTX2Shift
from harmony_parts.av import Prompt
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.straight import StraightPath
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.sum import Sum
from harmony_parts.sample.sampler import sample
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.contracts.flow import check_shift

SCHEDULER = {
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "shift_terminal": 0.1,
}
SCHEDULER |= {"base_image_seq_len": 1024, "max_image_seq_len": 4096}
PROMPT, NEGATIVE = "a dog barks\ntwice", "worst quality"
STEPS = 4


@pytest.fixture(scope="module", params=toys.FORMS)
def both(request):
    """Our parts, and diffusers' pipeline over the same models.

    2.5 has Gemma 4, and keeps the text's keys.
    """
    form = toys.FORMS[request.param]
    connectors = toys.CONNECTORS if request.param == "2.0" else toys.LATER_CONNECTORS
    parts = toys.parts(form)
    gemma = toys.GEMMA4 if request.param == "2.5" else toys.GEMMA
    text = toys.text(config=gemma, connectors_config=connectors, negative=NEGATIVE).build(
        format=toys.FORMAT, codecs=parts.codecs
    )
    parts.text = text
    parts.denoiser = LTX2(config=form, precision="float32", keep_text=request.param == "2.5").build(
        codecs=parts.codecs, encoders={"text": text}
    )
    pipeline = LTX2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SCHEDULER),
        vae=parts.codecs["video"].frozen.models[0],
        audio_vae=parts.codecs["audio"].frozen.models[0],
        text_encoder=text.frozen.models[0],
        tokenizer=text._tokenizer,
        connectors=text.frozen.models[1],
        transformer=parts.denoiser.frozen.models[0],
        vocoder=parts.codecs["audio"].frozen.models[1],
    )
    pipeline.set_progress_bar_config(disable=True)
    return parts, pipeline


def theirs(pipeline, noise, output_type, **scales):
    """LTX2Pipeline's result for the noise, with only text guidance."""
    off = {
        "stg_scale": 0.0,
        "audio_stg_scale": 0.0,
        "modality_scale": 1.0,
        "audio_modality_scale": 1.0,
    }
    off |= {"guidance_rescale": 0.0, "audio_guidance_rescale": 0.0}
    return pipeline(
        PROMPT,
        NEGATIVE,
        height=64,
        width=96,
        num_frames=17,
        frame_rate=24.0,
        num_inference_steps=STEPS,
        max_sequence_length=48,
        latents=noise["video"].permute(0, 4, 1, 2, 3),
        audio_latents=noise["audio"].unflatten(2, (2, 4)).transpose(1, 2),
        output_type=output_type,
        return_dict=False,
        **off | scales,
    )


def ours(parts, noise, guidance):
    """The sampler's result for the noise."""
    said = parts.text([Prompt(caption=PROMPT)])
    settings = {
        "solver": Euler(),
        "shift": LTX2Shift(tokens=3 * 2 * 3),
        "path": StraightPath(),
        "steps": STEPS,
    }
    return sample(parts.denoiser, noise, said, codecs=parts.codecs, guidance=guidance, **settings)


@pytest.mark.parametrize("scales", [(3.0, 7.0), (1.0, 4.0), (1.0, 1.0)])
def test_text_guidance_equals_diffusers(both, scales):
    """Latents after four steps; diffusers guides clean estimates instead of velocities, which is
    equal up to rounding."""
    parts, pipeline = both
    noise = toys.noise()
    video, audio = theirs(
        pipeline, noise, "latent", guidance_scale=scales[0], audio_guidance_scale=scales[1]
    )
    made = ours(parts, noise, CFG(video=scales[0], audio=scales[1]))
    assert torch.allclose(made["video"], video.permute(0, 2, 3, 4, 1), atol=5e-5)
    assert torch.allclose(made["audio"], audio.transpose(1, 2).flatten(2), atol=5e-5)
    assert not toys.same(made, noise, 0.5)


def test_ltx2s_own_guidance_is_composed_of_parts(both):
    """Text, modality and spatio-temporal guidance, rescaled: LTX2Pipeline's defaults, except the
    block's number."""
    for name in ("modality", "skip_layer", "rescale", "data_space"):
        pytest.importorskip(f"harmony_parts.guidance.{name}")
    from harmony_parts.guidance.data_space import DataSpace
    from harmony_parts.guidance.modality import Modality
    from harmony_parts.guidance.rescale import Rescale
    from harmony_parts.guidance.skip_layer import SkipLayer

    parts, pipeline = both
    noise = toys.noise(3)
    scales = {
        "guidance_scale": 3.0,
        "stg_scale": 1.0,
        "modality_scale": 3.0,
        "guidance_rescale": 0.7,
    }
    video, audio = theirs(
        pipeline,
        noise,
        "latent",
        **scales,
        **{
            f"audio_{name}": 7.0 if name == "guidance_scale" else scale
            for name, scale in scales.items()
        },
        spatio_temporal_guidance_blocks=[1],
    )
    terms = (
        CFG(video=3, audio=7),
        Modality(video=3, audio=3),
        SkipLayer(layer=1, video=2, audio=2, drop=()),
    )
    made = ours(parts, noise, DataSpace(Rescale(Sum(terms), share=0.7)))
    assert torch.allclose(made["video"], video.permute(0, 2, 3, 4, 1), atol=1e-4)
    assert torch.allclose(made["audio"], audio.transpose(1, 2).flatten(2), atol=1e-4)


def test_the_clip_equals_diffusers(both):
    """Frames up to rounding; the stereo sound is cut to whole latents of the frames' length."""
    parts, pipeline = both
    noise = toys.noise(2)
    video, audio = theirs(pipeline, noise, "np", guidance_scale=3.0, audio_guidance_scale=7.0)
    made = ours(parts, noise, CFG(video=3, audio=7))
    frames, sound = (
        parts.codecs["video"].decode(made["video"]),
        parts.codecs["audio"].decode(made["audio"]),
    )
    assert (frames / 255 - torch.from_numpy(video)).abs().max() < 0.51 / 255
    wanted = audio[..., : sound.shape[2]].clamp(-1, 1)
    assert wanted.shape == sound.shape
    assert sound.shape[:2] == (1, 2)
    assert sound.shape[2] >= 17 / 24 * 24000
    assert torch.allclose(sound, wanted, atol=1e-5)


@given(tokens=st.integers(1, 20000), steps=st.integers(1, 100))
@example(tokens=6144, steps=30)
@example(tokens=6144, steps=1)
def test_times_equal_its_schedulers(tokens, steps):
    """For any number of steps and tokens, with LTX2Pipeline's settings."""
    from diffusers.pipelines.ltx2.pipeline_ltx2 import calculate_shift

    mu = calculate_shift(tokens, 1024, 4096, 0.95, 2.05)
    # which divides by 0 there
    scheduler = FlowMatchEulerDiscreteScheduler(
        **SCHEDULER | ({} if steps > 1 else {"shift_terminal": None})
    )
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist(), mu=mu)
    times = [t["video"] for t in timetable(steps, LTX2Shift(tokens=tokens))]
    # float32 there; near 1 the stretch divides 1 - u by 1 - u(1 / steps), and so its rounding
    near = math.exp(-mu)
    bound = 4e-7 * (1 + (steps - 1) * near) / ((steps - 1) * near) if steps > 1 else 4e-7
    assert torch.allclose(torch.tensor(times), scheduler.sigmas, rtol=0, atol=bound)
    if steps > 1:
        assert times[-2] == pytest.approx(0.1, abs=1e-9)


def test_the_shift_passes_the_contract_check():
    """For training, and without a terminal, it is the plain shift."""
    for shift in (LTX2Shift(), LTX2Shift(tokens=6144), LTX2Shift(terminal=0.0)):
        check_shift(shift)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    plain = 7.767901 * t / (1 + 6.767901 * t)  # e^2.05
    for shift in (LTX2Shift(), LTX2Shift(terminal=0).for_steps(10), LTX2Shift().for_steps(1)):
        assert torch.allclose(shift(t), plain, atol=1e-6)
    for settings in ({"tokens": 0}, {"terminal": 1.0}, {"terminal": -0.1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            LTX2Shift(**settings)


def test_texts_equal_diffusers(both):
    """Tokens of both streams, for short and long texts and surrounding spaces; the null form is the
    negative text's."""
    parts, pipeline = both
    texts = ["a dog barks twice", "  rain\n on a roof ", "é" * 20, "x"]
    said = parts.text([Prompt(caption=text) for text in texts])
    embeds, mask, _, _ = pipeline.encode_prompt(
        [*texts, NEGATIVE], do_classifier_free_guidance=False, max_sequence_length=48
    )
    with torch.no_grad():
        video, audio, whole = pipeline.connectors(embeds, mask, padding_side="left")
    assert whole.bool().all()
    for name, direct in (("caption", video), ("sound", audio)):
        assert said[name].tokens.shape == (4, 48, parts.text.produces[name])
        assert torch.allclose(said[name].tokens, direct[:4], atol=1e-5)
        assert torch.allclose(said[name].null.tokens, direct[4:].expand(4, -1, -1), atol=1e-5)
        assert said[name].mask.all()
