"""The second stage: latents enlarged as by diffusers, and refined from there as by LTX2Pipeline."""

from __future__ import annotations

import sys

import attrs
import ltx2_toys as toys
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2LatentUpsamplePipeline, LTX2Pipeline
from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES, STAGE_2_DISTILLED_SIGMA_VALUES
from ltx2_toys import QUICK, SMALL

from harmony_ltx2 import upsample
from harmony_ltx2.denoiser import LTX2
from harmony_ltx2.recipe import ltx2_recipe
from harmony_ltx2.upsampler import LTX2Upsampler
from harmony_ltx2.video import LTX2Video, LTX2VideoCodec
from harmony_parts.av import AV, Prompt
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.listed import ListedTimes
from harmony_parts.flow.straight import StraightPath
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.media.clip import Clip
from harmony_parts.sample.sampler import sample

LARGE = attrs.evolve(toys.FORMAT, height=128, width=192)
TIMES = tuple(DISTILLED_SIGMA_VALUES)


@pytest.fixture(scope="module")
def codecs() -> tuple[LTX2VideoCodec, LTX2VideoCodec]:
    """Of small and of large frames, with one autoencoder, whose latents aren't of unit scale."""
    spec = LTX2Video(config=toys.VIDEO | {"scaling_factor": 0.5})
    vae = spec.autoencoder()
    vae.latents_mean.copy_(torch.linspace(-1, 1, toys.C))
    vae.latents_std.copy_(torch.linspace(0.5, 2, toys.C))
    return LTX2VideoCodec(spec, toys.FORMAT, vae), LTX2VideoCodec(spec, LARGE, vae)


@pytest.fixture(scope="module")
def upsampler(codecs):
    return LTX2Upsampler(config=toys.UPSAMPLER, precision="float32").build(codecs[0])


def theirs_larger(codec, upsampler, latents):
    """LTX2LatentUpsamplePipeline's result, in the autoencoder's scale [B, C, T, H, W]."""
    pipeline = LTX2LatentUpsamplePipeline(codec.frozen.models[0], upsampler.frozen.models[0])
    return pipeline(
        latents=latents.permute(0, 4, 1, 2, 3),
        latents_normalized=True,
        height=64,
        width=96,
        num_frames=17,
        output_type="latent",
        return_dict=False,
    )[0]


def test_latents_equal_diffusers(codecs, upsampler):
    small, large = codecs
    latents = toys.noise(batch=2)["video"]
    made = upsampler(latents)
    assert made.shape == (2, 3, *large.grid, toys.C)
    theirs = theirs_larger(small, upsampler, latents).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(large.unscaled(made), theirs, rtol=0, atol=1e-5)
    assert not upsampler.state_dict()
    assert all(not weight.requires_grad for weight in upsampler.frozen.parameters())


@pytest.mark.parametrize("scales", [(1.0, 1.0), (3.0, 7.0)])
def test_the_second_stage_equals_diffusers(codecs, upsampler, scales):
    """LTX2Pipeline, from the enlarged latents and the sound of the first stage, with noise at
    0.909375 and three steps.
    """
    both: AV = toys.parts(toys.LATER, format=LARGE).codecs.replace(video=codecs[1])
    text = toys.text(connectors_config=toys.LATER_CONNECTORS).build(format=LARGE, codecs=both)
    denoiser = LTX2(config=toys.LATER, precision="float32").build(
        codecs=both, encoders={"text": text}
    )
    pipeline = LTX2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=False, shift_terminal=None),
        vae=codecs[1].frozen.models[0],
        audio_vae=both["audio"].frozen.models[0],
        text_encoder=text.frozen.models[0],
        tokenizer=text._tokenizer,
        connectors=text.frozen.models[1],
        transformer=denoiser.frozen.models[0],
        vocoder=both["audio"].frozen.models[1],
    )
    pipeline.set_progress_bar_config(disable=True)
    first = toys.noise(4)  # stands for what the first stage made
    off = {"stg_scale": 0.0, "modality_scale": 1.0, "guidance_rescale": 0.0}
    video, audio = pipeline(
        "a dog barks",
        "",
        height=128,
        width=192,
        num_frames=17,
        frame_rate=24.0,
        num_inference_steps=3,
        sigmas=STAGE_2_DISTILLED_SIGMA_VALUES,
        noise_scale=STAGE_2_DISTILLED_SIGMA_VALUES[0],
        max_sequence_length=48,
        latents=theirs_larger(codecs[0], upsampler, first["video"]),
        audio_latents=first["audio"].unflatten(2, (2, 4)).transpose(1, 2),
        generator=torch.Generator().manual_seed(5),
        guidance_scale=scales[0],
        audio_guidance_scale=scales[1],
        output_type="latent",
        return_dict=False,
        **off,
        **{f"audio_{name}": value for name, value in off.items()},
    )
    generator = torch.Generator().manual_seed(5)  # of tokens [B, T H W, C], the video's first
    draft = AV(upsampler(first["video"]), first["audio"])
    noise = draft.map(lambda x: torch.randn(x.flatten(1, -2).shape, generator=generator).view_as(x))
    made = sample(
        denoiser,
        noise,
        text([Prompt(caption="a dog barks")]),
        codecs=both,
        draft=draft,
        strength=TIMES[5],
        guidance=NoGuidance() if scales == (1.0, 1.0) else CFG(*scales),
        solver=Euler(),
        shift=ListedTimes(TIMES),
        path=StraightPath(),
        steps=3,
    )
    theirs = codecs[1].scaled(video.permute(0, 2, 3, 4, 1))
    torch.testing.assert_close(made["video"], theirs, rtol=0, atol=5e-5)
    torch.testing.assert_close(made["audio"], audio.transpose(1, 2).flatten(2), rtol=0, atol=5e-5)


def test_two_pipelines_make_two_stages(model, tmp_path, monkeypatch):
    """In Python with latents, and with files by the command; the clip is as large and as long."""
    small = Pipeline.assemble(ltx2_recipe(str(model), [*SMALL, *QUICK]))
    large = Pipeline.assemble(
        ltx2_recipe(str(model), [*SMALL, *QUICK, "format.height=128", "format.width=192"])
    )
    prompt = [Prompt(caption="a ball falls")]
    first = small.latents(prompt, seeds=[0])
    grow = LTX2Upsampler(model=str(model), precision="float32").build(small.codecs["video"])
    stage = {"strength": TIMES[5], "shift": ListedTimes(TIMES), "steps": 3}
    made = large.latents(
        prompt, seeds=[0], draft=first.replace(video=grow(first["video"])), **stage
    )
    assert large.decode(made, 17)[0].frames.shape == (17, 128, 192, 3)

    clip = small.generate("a ball falls").save(tmp_path / "small.mp4")
    command = ["upsample", str(clip), str(tmp_path / "large.mp4"), "--model", str(model)]
    monkeypatch.setattr(sys, "argv", [*command, "--tile", "0"])
    upsample.main()
    larger = Clip.read(tmp_path / "large.mp4")
    assert larger.frames.shape == (17, 128, 192, 3)
    assert larger.waveform.shape == Clip.read(clip).waveform.shape
    refined = large.generate("a ball falls", draft=tmp_path / "large.mp4", **stage).clip
    assert refined.frames.shape == (17, 128, 192, 3)


def test_wrong_networks_are_refused(codecs):
    for change, what in (
        ({"in_channels": 4}, "is for 4 channels; the codec's latents have 8"),
        ({"spatial_upsample": False, "temporal_upsample": True}, "makes more frames"),
    ):
        with pytest.raises(ValueError, match=what):
            LTX2Upsampler(config=toys.UPSAMPLER | change).build(codecs[0])
    with pytest.raises(ValueError, match=r"there is no folder '\./nothing'"):
        LTX2Upsampler(model="./nothing").build(codecs[0])
    sound = Clip(waveform=torch.zeros(2, 24000), sample_rate=24000)
    with pytest.raises(ValueError, match="has no frames to enlarge"):
        upsample.enlarge(sound, LTX2Video(config=toys.VIDEO), LTX2Upsampler())
