"""Whole runs of a tiny model of real parts: they learn, repeat, stop, resume, and report errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from torch import Tensor

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import RunError
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.train import loop
from harmony_parts.train.loop import train
from harmony_parts.train.state import TrainingState

CPU = torch.device("cpu")


def go(recipe: Recipe, out: Path, resume: bool = False) -> dict[str, Tensor]:
    """The weights of a finished run."""
    return load_tensors(
        train(recipe, out=out, resume=resume, progress=False, device="cpu") / "model.safetensors"
    )


def log(out: Path) -> list[dict[str, Any]]:
    """The log without the seconds per step."""
    lines = [
        json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [
        {name: value for name, value in line.items() if name != "seconds_per_step"}
        for line in lines
    ]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """An uninterrupted run of seven steps, with a log line every three."""
    out = tmp_path_factory.mktemp("straight") / "run"
    return out, go(tiny.recipe(steps=7, log_every=3), out)


def interrupt_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the step after `step`, as a terminal sends it."""
    train_step = loop.train_step

    def interrupted(state: TrainingState, *given: Any) -> float:
        if state.step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(state, *given)

    monkeypatch.setattr(loop, "train_step", interrupted)


def test_ctrl_c_saves_a_checkpoint_and_resuming_is_bit_equal(
    straight: tuple[Path, dict[str, Tensor]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, out = tiny.recipe(steps=7, log_every=3), tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt, match=r"after step 4 of 7.*--resume"):
            go(recipe, out)
    assert "--resume" in capsys.readouterr().err
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-0000004"]
    assert not (out / "model").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    result = go(recipe, out, resume=True)
    assert same(result, straight[1])
    assert log(out) == log(straight[0])
    assert [line["step"] for line in log(out)] == [3, 6, 7]


def test_resuming_a_killed_run_is_bit_equal(tmp_path: Path) -> None:
    """A real SIGKILL at any step; only the checkpoints remain."""
    out, here = tmp_path / "run", Path(__file__).parents[1]
    code = (
        f"import sys, torch; sys.path[:0] = [{str(here)!r}, {str(here.parent)!r}];"
        f" torch.set_num_threads({torch.get_num_threads()})\nfrom helpers import"
        " tiny_training as tiny; from pathlib import Path; from harmony_parts.train.loop import"
        " train\ntrain(tiny.recipe(steps=100000, checkpoint_every=2, log_every=100000),"
        f" out=Path({str(out)!r}), progress=False, device='cpu')"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        until = time.monotonic() + 60
        while not (out / "checkpoints" / "step-0000004").is_dir():
            assert child.poll() is None, "the run ended by itself"
            assert time.monotonic() < until, "no checkpoint within a minute"
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    steps = (
        max(
            int(path.name[5:])
            for path in (out / "checkpoints").iterdir()
            if path.name.startswith("step-")
        )
        + 3
    )
    recipe = tiny.recipe(steps=steps, log_every=100000)
    assert same(go(recipe, out, resume=True), go(recipe, tmp_path / "straight"))


def test_a_damaged_checkpoint_costs_only_its_own_steps(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    go(tiny.recipe(steps=5, checkpoint_every=2), out)
    file = out / "checkpoints" / "step-0000005" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert same(go(tiny.recipe(steps=7, log_every=3), out, resume=True), straight[1])
    assert str(file) in capsys.readouterr().err


def test_a_run_depends_only_on_its_seed(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    torch.manual_seed(77)  # the caller's global generator is neither used nor changed
    before = torch.get_rng_state()
    again = go(tiny.recipe(steps=7, log_every=3), tmp_path / "again")
    assert torch.equal(torch.get_rng_state(), before)
    assert same(again, straight[1])
    assert log(tmp_path / "again") == log(straight[0])
    assert not same(go(tiny.recipe(steps=7, log_every=3, seed=1), tmp_path / "other"), straight[1])


def test_the_losses_fall_on_two_clips(tmp_path: Path) -> None:
    go(
        tiny.recipe(
            steps=150, batch=2, prepared=2, learning_rate=3e-3, ema=0.0, drop={}, log_every=10
        ),
        tmp_path / "run",
    )
    lines = log(tmp_path / "run")
    for name in ("joint.video", "joint.audio", "audio-driven.video", "video-driven.audio"):
        first, last = lines[0]["losses"][name], sum(line["losses"][name] for line in lines[-3:]) / 3
        assert last < 0.6 * first, name


def test_a_run_is_neither_overwritten_nor_resumed_with_another_recipe(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    out, recipe = straight[0], tiny.recipe(steps=7, log_every=3)
    before = (out / "recipe.toml").read_bytes()
    with pytest.raises(RunError, match=r"already holds a run.*--resume"):
        go(recipe, out)
    with pytest.raises(RunError, match="no run to resume"):
        go(recipe, tmp_path / "nothing", resume=True)
    with pytest.raises(
        RunError,
        match=(
            r"\$\.train\.batch: was 3, is now 4\n  \$\.train\.drop\.caption: was 0.5, is now"
            r" left out"
        ),
    ):
        go(tiny.but(recipe, batch=4, drop={}), out, resume=True)
    with pytest.raises(RunError, match=r"already at step 7, beyond train.steps = 6"):
        go(tiny.but(recipe, steps=6), out, resume=True)
    assert (out / "recipe.toml").read_bytes() == before
    assert not (tmp_path / "nothing").exists()


def test_a_run_of_an_older_version_of_recipes_is_not_resumed(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    shutil.copytree(straight[0], tmp_path / "run")
    file = tmp_path / "run" / "recipe.toml"
    text = file.read_text()
    assert "\nrecipe = 2\n" in text
    file.write_text(text.replace("\nrecipe = 2\n", "\n"))
    with pytest.raises(RunError, match=r"version 1, .* train or convert the model anew"):
        go(tiny.recipe(steps=9, log_every=3), tmp_path / "run", resume=True)


def test_a_finished_run_continues_with_more_steps(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    go(tiny.recipe(steps=4, log_every=3), tmp_path / "run")
    assert same(go(tiny.recipe(steps=7, log_every=3), tmp_path / "run", resume=True), straight[1])


def test_the_learning_rate_warms_up_and_stays_constant(tmp_path: Path) -> None:
    go(tiny.recipe(steps=6, warmup=4, learning_rate=0.01), tmp_path / "run")
    assert [line["learning_rate"] for line in log(tmp_path / "run")] == pytest.approx(
        [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01]
    )


def test_the_model_has_the_averaged_weights_if_there_is_an_average(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    last = straight[0] / "checkpoints" / "step-0000007"
    assert same(straight[1], load_tensors(last / "ema.safetensors"))
    raw = go(tiny.recipe(steps=7, log_every=3, ema=0.0), tmp_path / "raw")
    assert same(raw, load_tensors(last / "weights.safetensors"))
