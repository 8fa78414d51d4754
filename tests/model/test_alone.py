"""Models of one stream: assembled from a recipe with one codec, trained and sampled as any other."""

from __future__ import annotations

import importlib.resources
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from harmony_parts.assemble import build, read_recipe
from harmony_parts.av import AV, STREAMS, Prompt, Times
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.pipeline import Pipeline, load
from harmony_parts.train.loop import train

ENCODERS = {"video": ("caption", "image"), "audio": ("sound", "voice")}


def table(stream: str, **denoiser: Any) -> dict[str, Any]:
    """The demo's recipe with one stream, two layers and a plain guidance."""
    demo = tomllib.loads((importlib.resources.files("harmony_parts") / "recipes" / "demo.toml").read_text())
    demo["codecs"] = {stream: demo["codecs"][stream]}
    demo["encoders"] = {name: demo["encoders"][name] for name in ENCODERS[stream]}
    demo["denoiser"] = {"use": f"{stream}-only", "layers": 2, stream: demo["denoiser"][stream]} | denoiser
    demo["train"] |= {"steps": 2, "batch": 2, "prepared": 4, "drop": {}}
    demo |= {"task": "joint", "metrics": []}
    demo["sample"] |= {"guidance": "none", "steps": 2}
    return demo


@pytest.mark.parametrize("stream", STREAMS)
def test_one_stream_is_trained_saved_and_sampled(stream: str, tmp_path: Path) -> None:
    train(read_recipe(table(stream)), out=tmp_path / "run")
    told = {"prompt": "a ball"} if stream == "video" else {"sound": "a knock"}
    clip = load(tmp_path / "run").generate(**told, seed=1).clip
    assert (clip.frames is not None, clip.waveform is not None) == (stream == "video", stream == "audio")
    frames = 24
    shape = clip.frames.shape if stream == "video" else clip.waveform.shape
    assert tuple(shape) == ((frames, 16, 16, 3) if stream == "video" else (1, frames * 8000 // 12))


def test_what_it_cannot_do_is_said() -> None:
    pipeline = Pipeline.assemble(read_recipe(table("video")))
    with pytest.raises(ValueError, match="this model makes video alone"):
        pipeline.generate("a ball", audio="x.wav")
    with pytest.raises(AssemblyError, match="a branch for audio alone, and the codecs are for video"):
        build(read_recipe(table("video") | {"denoiser": "audio-only"}))
    with pytest.raises(AssemblyError, match=r"needs codecs of both streams; add one, or use `video-only`"):
        build(read_recipe(table("video") | {"denoiser": "dual-branch"}))
    lost = table("audio")
    lost["encoders"]["caption"] = {"use": "bytes", "field": "caption"}
    with pytest.raises(AssemblyError, match="'caption' enters by the video stream, which this model hasn't"):
        build(read_recipe(lost))
    with pytest.raises(AssemblyError, match="at least one codec"):
        read_recipe(table("video") | {"codecs": {}})
    latents = torch.zeros(1, 20, 48)
    with pytest.raises(PartContractError, match="no audio branch"):
        pipeline.parts.denoiser(AV(audio=latents), AV(audio=Times.uniform(torch.ones(1), 20)), {})


@pytest.mark.parametrize("stream", STREAMS)
def test_bfloat16_weights_keep_the_clip(stream: str) -> None:
    """Velocities of bfloat16 weights are those of float32 to some of bfloat16's 8 bits; latents and noise stay float32."""
    recipe = read_recipe(table(stream))
    pipeline = Pipeline.assemble(recipe)
    with torch.no_grad():
        for parameter in pipeline.weights.parameters():  # the head starts at zero
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    exact = pipeline.latents([Prompt()], seeds=[3], steps=1)[stream]
    rounded = pipeline.to(dtype=torch.bfloat16).latents([Prompt()], seeds=[3], steps=1)[stream]
    assert rounded.dtype == torch.float32
    error = (rounded - exact).norm() / exact.norm()
    assert 0 < error < 2e-2


def test_an_empty_denoiser_has_shapes_and_no_numbers() -> None:
    recipe = read_recipe("demo")
    empty, full = build(recipe, empty=("denoiser",)), build(recipe)
    assert all(p.is_meta for p in empty.denoiser.parameters())
    assert not any(p.is_meta for encoder in empty.encoders.values() for p in encoder.parameters())
    assert {n: p.shape for n, p in empty.denoiser.named_parameters()} == {n: p.shape for n, p in full.denoiser.named_parameters()}
