"""The shipped model and its training on a GPU (`make gpu`)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.gpu_device import DEVICE, NEEDS_DEVICE, check_as_on_the_cpu, report, synchronize

from harmony_parts.assembly.read import read_recipe
from harmony_parts.generate.load import load
from harmony_parts.train.loop import train

pytestmark = NEEDS_DEVICE

FEW = (
    "data.size=16",
    "train.prepared=16",
    "train.batch=2",
    "train.log_every=1",
    "train.checkpoint_every=0",
    "train.steps=3",
)
RECIPES = ["tiny/video", "tiny/audio", "tiny/voice", "tiny/joint"]


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", RECIPES)
def test_its_training_follows_that_on_a_cpu(name: str, tmp_path: Path) -> None:
    """The recipes with which harmony-tiny was trained: learned codec, words, Muon."""
    for way, device in (("cpu", "cpu"), ("here", DEVICE)):
        train(read_recipe(name, FEW), out=tmp_path / way, device=device, progress=False)
    on_cpu, here = losses(tmp_path / "cpu"), losses(tmp_path / "here")
    assert len(here) == 3
    assert here == pytest.approx(on_cpu, rel=1e-2)
    report(recipe=name, losses=here, losses_on_a_cpu=on_cpu)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_lower_precision_stays_close(precision: str, tmp_path: Path) -> None:
    """Losses are means over many latents: rounding to 8 bits of mantissa moves them by percents."""
    settings = (*FEW, f"train.precision={precision}")
    for way, overrides in (("exact", FEW), (precision, settings)):
        recipe = read_recipe("tiny/joint", overrides)
        train(recipe, out=tmp_path / way, device=DEVICE, progress=False)
    assert losses(tmp_path / precision) == pytest.approx(losses(tmp_path / "exact"), rel=5e-2)


def test_one_process_with_divided_weights_trains_the_same(tmp_path: Path) -> None:
    """By torchrun, as on several GPUs: NCCL and FSDP at the least."""
    few = [x for setting in FEW for x in ("--set", setting)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    for strategy, program in (("single", [sys.executable]), ("fsdp", launch)):
        out = ["--device", DEVICE, "--out", str(tmp_path / strategy)]
        command = [*program, "-m", "harmony_parts", "train", "tiny/joint", *out, *few]
        done = subprocess.run(
            [*command, "--set", f"train.strategy={strategy}"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "fsdp") == pytest.approx(losses(tmp_path / "single"), rel=1e-3)


def test_the_shipped_model_makes_what_it_makes_on_a_cpu() -> None:
    check_as_on_the_cpu(load("harmony-tiny"), steps=2)


def test_a_clip_of_the_shipped_model_takes_seconds() -> None:
    """The whole of 16 steps with SyncCFG, to HARMONY_GPU_REPORT."""
    pipeline = load("harmony-tiny").to(DEVICE)
    taken = []
    for seed in range(2):
        synchronize()
        begun = time.perf_counter()
        clip = pipeline.generate("a red ball bounces", seed=seed).clip
        synchronize()
        taken.append(time.perf_counter() - begun)
        assert torch.isfinite(clip.waveform).all()
    report(recipe="harmony-tiny, a clip", seconds=taken)
