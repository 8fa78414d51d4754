"""Runs on a folder of clips that isn't what it was: other clips on resuming, and a clip that goes bad in the middle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import attrs
import pytest
import tiny_training as tiny
import torch

from harmony_parts.data.clips import ClipFolder
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.errors import MediaError, RunError
from harmony_parts.recipe import Recipe
from harmony_parts.train.loop import Run, train
from harmony_parts.weights import load_tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips in the model's format."""
    root = tmp_path_factory.mktemp("clips")
    world = Soundstage().build(format=tiny.recipe().format)
    for i in range(4):
        world.example(i).clip.save(root / f"{i}.mkv")
    return root


def recipe(**more: int) -> Recipe:
    """Clips are read for every step, and never kept."""
    return attrs.evolve(tiny.recipe(prepared=more.pop("prepared", 0), **more), data=ClipFolder(memory_mb=0.0))


def go(recipe: Recipe, out: Path, root: Path, resume: bool = False) -> dict[str, torch.Tensor]:
    return load_tensors(train(recipe, out=out, data_root=root, resume=resume, progress=False, device="cpu") / "model.safetensors")


@pytest.mark.parametrize("prepared", [0, 6])
def test_other_clips_are_refused_on_resuming(prepared: int, folder: Path, tmp_path: Path) -> None:
    """Fewer, and as many with other names; the same clips in another place are the same."""
    out = tmp_path / "run"
    go(recipe(steps=1, prepared=prepared), out, folder)
    fewer, others, moved = (Path(shutil.copytree(folder, tmp_path / name)) for name in ("fewer", "others", "moved"))
    (fewer / "3.mkv").unlink()
    (others / "3.mkv").rename(others / "4.mkv")
    with pytest.raises(RunError, match=r"step 1 was made with other data \(of 4 examples, now 3\); .*--data"):
        go(recipe(steps=2, prepared=prepared), out, fewer, resume=True)
    with pytest.raises(RunError, match=r"other data \(of as many examples \(4\), but others\)"):
        go(recipe(steps=2, prepared=prepared), out, others, resume=True)
    facts = json.loads((out / "checkpoints" / "step-0000001" / "state.json").read_text())["facts"]
    assert facts["data"]["examples"] == 4
    go(recipe(steps=2, prepared=prepared), out, moved, resume=True)


def break_after(step: int, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoil a file, once, when that many steps are done."""
    advance = Run.advance

    def watched(run: Run) -> float:
        if run.step == step:
            clip.write_bytes(b"no media any more")
        return advance(run)

    monkeypatch.setattr(Run, "advance", watched)


@pytest.mark.parametrize("step", [0, 2])
def test_a_clip_that_goes_bad_costs_no_step(step: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps before it are saved, and the run, once the clip is mended, ends at the bits of one that had no trouble."""
    root, out = Path(shutil.copytree(folder, tmp_path / "clips")), tmp_path / "run"
    settings = recipe(steps=5, batch=4)  # every clip in every step
    with monkeypatch.context() as patch:
        break_after(step, root / "1.mkv", patch)
        with pytest.raises(RunError, match=r"1\.mkv: .*(\n|.)*--resume and --out") as error:
            go(settings, out, root)
    assert isinstance(error.value.__cause__, MediaError)
    saved = [path.name for path in (out / "checkpoints").iterdir()] if step else []
    assert saved == ([f"step-{step:07d}"] if step else [])
    shutil.copy(folder / "1.mkv", root / "1.mkv")
    mended, straight = go(settings, out, root, resume=True), go(settings, tmp_path / "straight", folder)
    assert all(torch.equal(mended[name], straight[name]) for name in straight)


def test_an_error_that_no_user_can_mend_keeps_its_type(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a note on how to go on; the steps are saved all the same."""
    from harmony_parts.train.prepare import OnTheFly

    batch, done = OnTheFly.batch, []

    def broken(self, index, generator):
        done.append(index)
        if len(done) == 3:
            raise ZeroDivisionError("a bug of a data set")
        return batch(self, index, generator)

    monkeypatch.setattr(OnTheFly, "batch", broken)
    with pytest.raises(ZeroDivisionError, match="a bug of a data set") as error:
        go(recipe(steps=5), tmp_path / "run", folder)
    assert "saved after step 2" in error.value.__notes__[0]
    assert (tmp_path / "run" / "checkpoints" / "step-0000002").is_dir()
