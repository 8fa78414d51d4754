"""Whole runs of a tiny model of real parts: that they learn, repeat, stop, go on, and say what is
wrong.
"""

from __future__ import annotations

import json
import os
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

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import RunError
from harmony_parts.models.folder import find_model, load_weights, save_model, saved_modules
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.train.log import Log
from harmony_parts.train.loop import Run, train

CPU = torch.device("cpu")


def go(recipe: Recipe, out: Path, resume: bool = False) -> dict[str, Tensor]:
    """The weights of a finished run."""
    return load_tensors(
        train(recipe, out=out, resume=resume, progress=False, device="cpu") / "model.safetensors"
    )


def log(out: Path) -> list[dict[str, Any]]:
    """The log without what the clock says."""
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
    """Seven steps without an interruption, a line of the log every three."""
    out = tmp_path_factory.mktemp("straight") / "run"
    return out, go(tiny.recipe(steps=7, log_every=3), out)


def interrupt_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the step after `step`, as a terminal sends it."""
    advance = Run.advance

    def watched(run: Run) -> float:
        if run.step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(run)

    monkeypatch.setattr(Run, "advance", watched)


def test_ctrl_c_saves_and_resuming_gives_the_same_bits(
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


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """A real SIGKILL, at whatever step; the checkpoints are what is left."""
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


def test_the_seed_decides_everything(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    torch.manual_seed(77)  # the caller's own chance is neither used nor touched
    before = torch.get_rng_state()
    again = go(tiny.recipe(steps=7, log_every=3), tmp_path / "again")
    assert torch.equal(torch.get_rng_state(), before)
    assert same(again, straight[1])
    assert log(tmp_path / "again") == log(straight[0])
    assert not same(go(tiny.recipe(steps=7, log_every=3, seed=1), tmp_path / "other"), straight[1])


def test_it_learns_two_clips(tmp_path: Path) -> None:
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


def test_folders_that_hold_runs_are_guarded(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    out, recipe = straight[0], tiny.recipe(steps=7, log_every=3)
    before = (out / "recipe.toml").read_bytes()
    with pytest.raises(RunError, match=r"holds a run already.*--resume"):
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
    with pytest.raises(RunError, match=r"at step 7 already, beyond train.steps = 6"):
        go(tiny.but(recipe, steps=6), out, resume=True)
    assert (out / "recipe.toml").read_bytes() == before
    assert not (tmp_path / "nothing").exists()


def test_a_finished_run_can_be_made_longer(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    go(tiny.recipe(steps=4, log_every=3), tmp_path / "run")
    assert same(go(tiny.recipe(steps=7, log_every=3), tmp_path / "run", resume=True), straight[1])


def test_a_loss_that_is_not_finite_names_step_task_and_clip(tmp_path: Path) -> None:
    run = Run(tiny.recipe(prepared=8, batch=8), CPU)
    with Log(tmp_path, step=0, steps=6, progress=False) as log:
        run.open_data(None, log)
    run.advance()
    state = {name: value.clone() for name, value in run.weights.state_dict().items()}
    run.source.latents["audio"][5] = torch.nan  # type: ignore[attr-defined]
    with pytest.raises(
        RunError,
        match=rf"step 2: the loss is nan: task joint, (audio|video), clip {run.source.names[5]}, time 0\.\d+",  # noqa: E501
    ):  # type: ignore[attr-defined]
        run.advance()
    assert same(dict(run.weights.state_dict()), state)


def test_the_rate_rises_and_then_stays(tmp_path: Path) -> None:
    go(tiny.recipe(steps=6, warmup=4, learning_rate=0.01), tmp_path / "run")
    assert [line["learning_rate"] for line in log(tmp_path / "run")] == pytest.approx(
        [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01]
    )


@pytest.mark.parametrize("greatest", [0.0, 0.5, 1e6])
def test_gradients_are_shortened_to_the_clip_and_short_ones_left_alone(greatest: float) -> None:
    run = Run(tiny.recipe(), CPU)
    for parameter in run.trained.values():
        parameter.grad = torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
        )
    before = {name: p.grad.clone() for name, p in run.trained.items() if p.grad is not None}
    norm = torch.stack([gradient.square().sum() for gradient in before.values()]).sum().sqrt()
    assert run._clip(greatest).item() == pytest.approx(norm.item(), rel=1e-5)
    factor = min(1.0, greatest / norm.item()) if greatest else 1.0
    for name, gradient in before.items():
        torch.testing.assert_close(
            run.trained[name].grad, gradient * factor, rtol=0.0 if factor == 1 else 1e-5, atol=0
        )


def test_the_model_of_a_run_loads_into_new_parts(straight: tuple[Path, dict[str, Tensor]]) -> None:
    out, saved = straight
    assert find_model(out) == find_model(out / "model") == out / "model"
    recipe = read_recipe(out / "model" / "recipe.toml")
    assert recipe == tiny.recipe(steps=7, log_every=3)
    parts = build(recipe, 99)
    assert not same(dict(saved_modules(parts).state_dict()), saved)
    load_weights(parts, out)
    assert same(dict(saved_modules(parts).state_dict()), saved)
    card = (out / "model" / "README.md").read_text(encoding="utf-8")
    assert f"Parameters: {sum(p.numel() for p in saved_modules(parts).parameters()):,}" in card
    assert "7 steps of 3 clips" in card


def test_the_average_is_handed_over_and_the_raw_weights_without_one(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    last = straight[0] / "checkpoints" / "step-0000007"
    assert same(straight[1], load_tensors(last / "ema.safetensors"))
    raw = go(tiny.recipe(steps=7, log_every=3, ema=0.0), tmp_path / "raw")
    assert same(raw, load_tensors(last / "weights.safetensors"))


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    recipe = tiny.recipe()
    parts = build(recipe, 0)
    state = dict(saved_modules(parts).state_dict())
    del state["denoiser.branches.audio.reference_group"]
    state["denoiser.more"] = torch.zeros(1)
    state["denoiser.branches.audio.target_group"] = torch.zeros(5)
    save_model(tmp_path / "model", recipe, state)
    with pytest.raises(RunError) as raised:
        load_weights(parts, tmp_path / "model")
    for part in (
        "missing: denoiser.branches.audio.reference_group",
        "not in this model: denoiser.more",
        "target_group (there [5], here [32])",
    ):
        assert part in str(raised.value)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match=r"model\.safetensors: can't be read"):
        load_weights(parts, tmp_path / "model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for folder, cause in (
        ("empty", "neither a model"),
        ("absent", "no such folder"),
        ("file", "is a file; name the model's folder"),
    ):
        with pytest.raises(RunError, match=cause):
            find_model(tmp_path / folder)
