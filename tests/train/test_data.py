"""Runs whose data change: other clips after a resume, and clips that can't be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.data.clips import ClipFolder
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.errors import RunError
from harmony_parts.latents.sources import Batch, OnTheFly
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.train import loop
from harmony_parts.train.loop import train
from harmony_parts.train.state import TrainingState


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips in the model's format."""
    root = tmp_path_factory.mktemp("clips")
    world = Soundstage().build(format=tiny.recipe().format)
    for i in range(4):
        world.example(i).clip.save(root / f"{i}.mkv")
    return root


def recipe(**more: int) -> Recipe:
    """Clips are read again for every step."""
    return attrs.evolve(
        tiny.recipe(prepared=more.pop("prepared", 0), **more), data=ClipFolder(memory_mb=0.0)
    )


def go(recipe: Recipe, out: Path, root: Path, resume: bool = False) -> dict[str, torch.Tensor]:
    return load_tensors(
        train(recipe, out=out, data_root=root, resume=resume, progress=False, device="cpu")
        / "model.safetensors"
    )


@pytest.mark.parametrize("prepared", [0, 6])
def test_resuming_with_other_clips_is_refused(prepared: int, folder: Path, tmp_path: Path) -> None:
    """Fewer, or as many with other names; the same clips in another folder are accepted."""
    out = tmp_path / "run"
    go(recipe(steps=1, prepared=prepared), out, folder)
    fewer, others, moved = (
        Path(shutil.copytree(folder, tmp_path / name)) for name in ("fewer", "others", "moved")
    )
    (fewer / "3.mkv").unlink()
    (others / "3.mkv").rename(others / "4.mkv")
    with pytest.raises(
        RunError, match=r"step 1 was made with other data \(4 examples, now 3\); .*--data"
    ):
        go(recipe(steps=2, prepared=prepared), out, fewer, resume=True)
    with pytest.raises(RunError, match=r"other data \(4 examples as now, but others\)"):
        go(recipe(steps=2, prepared=prepared), out, others, resume=True)
    facts = json.loads((out / "checkpoints" / "step-0000001" / "state.json").read_text())["facts"]
    assert facts["data"]["examples"] == 4
    go(recipe(steps=2, prepared=prepared), out, moved, resume=True)


def break_after(step: int, clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwrite the files once that many steps are done."""
    draw_batch = loop.draw_batch

    def breaking(state: TrainingState, *given: Any) -> Batch:
        if state.step == step:
            for clip in clips:
                clip.write_bytes(b"no media any more")
        return draw_batch(state, *given)

    monkeypatch.setattr(loop, "draw_batch", breaking)


def test_a_clip_that_becomes_unreadable_is_skipped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """It is named once and counted; a run that is stopped and resumed afterwards is bit-equal."""
    results = []
    for name in ("straight", "stopped"):
        root, out = Path(shutil.copytree(folder, tmp_path / f"{name}-clips")), tmp_path / name
        with monkeypatch.context() as patch:
            break_after(1, [root / "1.mkv"], patch)
            if name == "stopped":
                go(recipe(steps=3, batch=4), out, root)
                assert capfd.readouterr().err.count("1.mkv") == 1
            results.append(go(recipe(steps=5, batch=4), out, root, resume=name == "stopped"))
        stderr = capfd.readouterr().err
        assert stderr.count("1.mkv") == 1, stderr
        assert "from 3 clips (1 more couldn't be read)" in (out / "model" / "README.md").read_text()
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@pytest.mark.parametrize("prepared", [0, 6])
def test_clips_that_are_unreadable_from_the_start_are_skipped(
    prepared: int, folder: Path, tmp_path: Path, capfd
) -> None:
    """They are reported before the first step, and never read."""
    root = Path(shutil.copytree(folder, tmp_path / "clips"))
    (root / "2.mkv").write_bytes(b"no media at all")
    go(recipe(steps=2, batch=4, prepared=prepared), tmp_path / "run", root)
    stderr = capfd.readouterr().err
    assert "1 of 4 clips can't be used and are skipped:" in stderr
    assert stderr.count("2.mkv") == 1


@pytest.mark.parametrize("step", [0, 2])
def test_a_disk_that_fails_loses_no_step(
    step: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no clip can be read any more, the run is saved; with the clips back it resumes."""
    root, out = Path(shutil.copytree(folder, tmp_path / "clips")), tmp_path / "run"
    settings = recipe(steps=5, batch=4)
    with monkeypatch.context() as patch:
        break_after(step, sorted(root.iterdir()), patch)
        with pytest.raises(
            RunError,
            match=r"none of the 4 clips can be read; the last error: .*\.mkv: .*(\n|.)* --resume",
        ):
            go(settings, out, root)
    saved = [path.name for path in (out / "checkpoints").iterdir()] if step else []
    assert saved == ([f"step-{step:07d}"] if step else [])
    shutil.copytree(folder, root, dirs_exist_ok=True)
    resumed, straight = (
        go(settings, out, root, resume=True),
        go(settings, tmp_path / "straight", folder),
    )
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


def test_an_unexpected_error_keeps_its_type(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets a note on how to resume, and the run is saved."""
    batch, done = OnTheFly.batch, []

    def broken(self, fetched):
        done.append(fetched)
        if len(done) == 3:
            raise ZeroDivisionError("a bug of a data set")
        return batch(self, fetched)

    monkeypatch.setattr(OnTheFly, "batch", broken)
    with pytest.raises(ZeroDivisionError, match="a bug of a data set") as error:
        go(recipe(steps=5), tmp_path / "run", folder)
    assert "saved after step 2" in error.value.__notes__[0]
    assert (tmp_path / "run" / "checkpoints" / "step-0000002").is_dir()
