"""Tests that need a GPU (`make gpu`); skipped on machines without one."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import get_args

import pytest
import torch
from helpers.gpu_device import CLOSE, CUDA, DEVICE, NEEDS_DEVICE, peak_bytes, report, synchronize
from helpers.tiny_training import begin

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.av import AV, Prompt
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.offload import Offload, resident_bytes
from harmony_parts.train.loop import train
from harmony_parts.train.step import draw_batch, train_step

pytestmark = NEEDS_DEVICE

SHORT = ("train.prepared=64", "data.size=64", "train.log_every=1")


@pytest.fixture(autouse=True)
def full_precision() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_losses_match_those_on_a_cpu(tmp_path: Path) -> None:
    recipe = read_recipe("demo", (*SHORT, "train.steps=10"))
    for way, device in (("cpu", "cpu"), ("here", DEVICE)):
        train(recipe, out=tmp_path / way, device=device, progress=False)
    assert losses(tmp_path / "here") == pytest.approx(losses(tmp_path / "cpu"), rel=1e-2)


def test_a_resumed_run_matches_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = read_recipe("demo", (*SHORT, "train.steps=8"))
    train(whole, out=tmp_path / "whole", device=DEVICE, progress=False)
    train(
        read_recipe("demo", (*SHORT, "train.steps=4")),
        out=tmp_path / "halves",
        device=DEVICE,
        progress=False,
    )
    train(whole, out=tmp_path / "halves", device=DEVICE, resume=True, progress=False)
    assert losses(tmp_path / "halves") == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)


@pytest.mark.parametrize("given", [(), ("audio",), ("video",)])
def test_a_seed_gives_the_same_latents_as_on_a_cpu(given: tuple[str, ...]) -> None:
    pipeline = Pipeline.assemble(read_recipe("demo", ("sample.steps=4",)))
    generator = torch.Generator().manual_seed(0)
    for parameter in pipeline.weights.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    clip = pipeline.recipe.data.build(format=pipeline.format).example(0, generator).clip
    made: list[AV[torch.Tensor]] = []
    for device in ("cpu", DEVICE):
        pipeline.to(device)
        made.append(
            pipeline.latents(
                [Prompt(caption="a ball")], seeds=[0], given=pipeline.encode([clip]).only(given)
            ).map(torch.Tensor.cpu)
        )
    for stream in made[0]:
        torch.testing.assert_close(*(latents[stream] for latents in made), **CLOSE)


WIDE = (
    "denoiser.layers=12",
    "denoiser.video.width=1024",
    "denoiser.video.heads=16",
    "denoiser.video.feed=4096",
)


@pytest.mark.parametrize("offload", ["parts", "layers"])
@pytest.mark.skipif(not CUDA, reason="a CPU reports no peak of its memory")
def test_offloading_changes_no_latents_and_lowers_the_peak(offload: Offload) -> None:
    """Bit for bit, with layers large enough for copies to overlap with computation.

    The peak falls by the size of the weights that stay on the host.
    """
    pipeline = Pipeline.assemble(read_recipe("demo", ("sample.steps=8", *WIDE)))
    generator = torch.Generator().manual_seed(0)
    for parameter in pipeline.weights.parameters():
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator)
    denoiser = pipeline.parts.denoiser
    made, peaks, seconds = [], [], []
    for how in (get_args(Offload)[0], offload):
        pipeline.to("cpu").to(DEVICE, offload=how)
        pipeline.latents([Prompt()], seeds=[0])
        peak_bytes()
        begun = time.perf_counter()
        made.append(
            [
                pipeline.latents([Prompt(caption="a ball")], seeds=[seed]).map(torch.Tensor.cpu)
                for seed in range(3)
            ]
        )
        seconds.append((time.perf_counter() - begun) / 3)
        peaks.append(peak_bytes())
    for straight, offloaded in zip(*made, strict=True):
        assert all(torch.equal(straight[stream], offloaded[stream]) for stream in straight)
    assert (
        peaks[1]
        < peaks[0]
        - 0.9 * (resident_bytes(denoiser, "parts") - resident_bytes(denoiser, offload))
        + 2**24
    )
    report(recipe="demo, wide", offload=offload, seconds_per_clip=seconds, peak_memory_bytes=peaks)


@pytest.mark.parametrize("name", ["demo", "clips", "tiny/joint"])
def test_time_and_memory_of_a_step(name: str, tmp_path: Path) -> None:
    """Median seconds of 20 steps after 5, and peak memory, to HARMONY_GPU_REPORT if it is set.

    Clips are Soundstage's. On a CPU one step of two clips.
    """
    overrides = ["data.use=soundstage", "data.size=64", "train.prepared=64"]
    if not CUDA:
        overrides += ["data.size=2", "train.prepared=2", "train.batch=2"]
    recipe = read_recipe(name, overrides)
    state, data = begin(recipe, tmp_path, device=DEVICE)
    peak_bytes()
    taken = []
    for _ in range(25 if CUDA else 1):
        synchronize()
        begun = time.perf_counter()
        batch = draw_batch(state, data.batches)
        assert train_step(state, batch, recipe) > 0
        synchronize()
        taken.append(time.perf_counter() - begun)
    timed = sorted(taken[5:] or taken)
    report(
        recipe=name,
        parameters=sum(p.numel() for p in build(recipe).denoiser.parameters()),
        batch=recipe.train.batch,
        seconds_per_step=timed[len(timed) // 2],
        peak_memory_bytes=peak_bytes(),
    )
