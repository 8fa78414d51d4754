"""Models of one stream: assembled from a recipe with one codec, trained and sampled."""

from __future__ import annotations

import importlib.resources
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.av import AV, STREAMS, Prompt, Times
from harmony_parts.cli.main import cli
from harmony_parts.convert.back import convert_back
from harmony_parts.errors import AssemblyError, PartContractError, RunError
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip
from harmony_parts.train.loop import train

ENCODERS = {"video": ("caption", "image"), "audio": ("sound", "voice")}


def table(stream: str, **denoiser: Any) -> dict[str, Any]:
    """The demo's recipe with one stream, two layers and a plain guidance."""
    demo = tomllib.loads(
        (importlib.resources.files("harmony_parts") / "recipes" / "demo.toml").read_text()
    )
    demo["codecs"] = {stream: demo["codecs"][stream]}
    demo["encoders"] = {name: demo["encoders"][name] for name in ENCODERS[stream]}
    demo["denoiser"] = {
        "use": f"{stream}-only",
        "layers": 2,
        stream: demo["denoiser"][stream],
    } | denoiser
    demo["train"] |= {"steps": 2, "batch": 2, "prepared": 4, "drop": {}}
    demo |= {"task": "joint", "metrics": []}
    demo["sample"] |= {"guidance": "none", "steps": 2}
    return demo


@pytest.mark.parametrize("stream", STREAMS)
def test_one_stream_is_trained_saved_and_sampled(stream: str, tmp_path: Path) -> None:
    train(read_recipe(table(stream)), out=tmp_path / "run")
    prompt = {"prompt": "a ball"} if stream == "video" else {"sound": "a knock"}
    clip = load(tmp_path / "run").generate(**prompt, seed=1).clip
    assert (clip.frames is not None, clip.waveform is not None) == (
        stream == "video",
        stream == "audio",
    )
    frames = 24
    shape = clip.frames.shape if stream == "video" else clip.waveform.shape
    assert tuple(shape) == ((frames, 16, 16, 3) if stream == "video" else (1, frames * 8000 // 12))


def test_requests_for_the_other_stream_are_refused() -> None:
    pipeline = Pipeline.assemble(read_recipe(table("video")))
    with pytest.raises(ValueError, match="this model generates only video"):
        pipeline.generate("a ball", audio=Clip(waveform=torch.zeros(1, 800), sample_rate=8000))
    with pytest.raises(
        AssemblyError,
        match=(
            r"^demo can't be assembled:\n  \$\.denoiser: it has only a branch for audio, and the"
            r" codecs are for video"
        ),
    ):
        build(read_recipe(table("video") | {"denoiser": "audio-only"}))
    with pytest.raises(
        AssemblyError,
        match=(
            r"\$\.denoiser: .*needs codecs of both streams; add \$\.codecs\.audio, or use"
            r" `video-only`"
        ),
    ):
        build(read_recipe(table("video") | {"denoiser": "dual-branch"}))
    lost = table("audio")
    lost["encoders"]["caption"] = {"use": "bytes", "field": "caption"}
    with pytest.raises(
        AssemblyError, match="'caption' enters by the video stream, which this model doesn't have"
    ):
        build(read_recipe(lost))
    with pytest.raises(AssemblyError, match="at least one codec"):
        read_recipe(table("video") | {"codecs": {}})
    latents = torch.zeros(1, 20, 48)
    with pytest.raises(PartContractError, match="no audio branch"):
        pipeline.parts.denoiser(AV(audio=latents), AV(audio=Times.uniform(torch.ones(1), 20)), {})


@pytest.mark.parametrize("stream", STREAMS)
def test_bfloat16_weights_give_nearly_the_same_velocities(stream: str) -> None:
    """Velocities of bfloat16 weights are those of float32 to some of bfloat16's 8 bits; latents and
    noise stay float32.
    """
    recipe = read_recipe(table(stream))
    pipeline = Pipeline.assemble(recipe)
    with torch.no_grad():
        for parameter in pipeline.weights.parameters():  # the head starts at zero
            parameter.add_(
                0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
            )
    exact = pipeline.latents([Prompt()], seeds=[3], steps=1)[stream]
    rounded = pipeline.to(dtype=torch.bfloat16).latents([Prompt()], seeds=[3], steps=1)[stream]
    assert rounded.dtype == torch.float32
    error = (rounded - exact).norm() / exact.norm()
    assert 0 < error < 2e-2


def test_an_empty_denoiser_has_shapes_and_no_data() -> None:
    recipe = read_recipe("demo")
    empty, full = build(recipe, empty=("denoiser",)), build(recipe)
    assert all(p.is_meta for p in empty.denoiser.parameters())
    assert not any(p.is_meta for encoder in empty.encoders.values() for p in encoder.parameters())
    assert {n: p.shape for n, p in empty.denoiser.named_parameters()} == {
        n: p.shape for n, p in full.denoiser.named_parameters()
    }


def test_a_task_of_the_other_stream_is_refused(tmp_path: Path) -> None:
    """By itself or in a mixture: its clips would train nothing."""
    for task in ("video-driven", "sampled", "weighted-sum"):
        with pytest.raises(
            AssemblyError,
            match="video-driven trains only the audio stream, and this model has only video",
        ):
            train(read_recipe(table("video") | {"task": task}), out=tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_a_guidance_of_two_streams_warns_that_it_has_no_effect() -> None:
    pipeline = Pipeline.assemble(read_recipe(table("video")))
    with pytest.warns(
        UserWarning, match="SyncCFG guides one stream by the other, so it has no effect"
    ):
        idle = pipeline.generate(seed=1, guidance=SyncCFG()).clip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = pipeline.generate(seed=1).clip
        pipeline.generate(seed=1, guidance=CFG(drop=["caption"]))
        pipeline.generate(
            seed=1, guidance=SyncCFG(video=1, audio=1)
        )  # at its off value it doesn't warn
    assert torch.equal(idle.frames, plain.frames)


@pytest.mark.parametrize("stream", STREAMS)
def test_the_command_line_generates_one_stream_with_a_preview(stream: str, tmp_path: Path) -> None:
    """An output file of the wrong kind is refused before sampling."""
    model = Pipeline.assemble(read_recipe(table(stream))).save(tmp_path / "model")
    made = CliRunner().invoke(
        cli,
        ["generate", str(model), "--preview", "--device", "cpu", "--out", str(tmp_path / "a.mkv")],
    )
    assert made.exit_code == 0, made.output
    with Image.open(tmp_path / "a.mkv.png") as sheet:
        # the heading and margins take 62 rows, frames 1200 / 24, a waveform 44
        assert sheet.size == (1200, 62 + (50 if stream == "video" else 44))
    sound = CliRunner().invoke(
        cli, ["generate", str(model), "--device", "cpu", "--out", str(tmp_path / "a.wav")]
    )
    if stream == "video":
        assert sound.exit_code == 2
        assert (
            "this model generates only video: use a name that ends in .mp4 or .mkv, not .wav"
            in sound.output
        )
    else:
        assert sound.exit_code == 0, sound.output
    assert (tmp_path / "a.wav").exists() == (stream == "audio")


def test_an_audio_model_does_not_convert_to_wan(tmp_path: Path) -> None:
    model = Pipeline.assemble(read_recipe(table("audio"))).save(tmp_path / "model")
    with pytest.raises(
        RunError, match=r"doesn't fit the layout wan: .* tensors have no counterpart"
    ):
        convert_back("wan", model, tmp_path / "wan.safetensors")
