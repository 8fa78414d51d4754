"""Runs on a folder of clips that isn't what it was: other clips on resuming, and clips that are
bad, or go bad in the middle.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import attrs
import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.data.clips import ClipFolder
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.errors import MediaError, RunError
from harmony_parts.latents.readable import Readable
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.train.loop import Run, train


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
    return attrs.evolve(
        tiny.recipe(prepared=more.pop("prepared", 0), **more), data=ClipFolder(memory_mb=0.0)
    )


def go(recipe: Recipe, out: Path, root: Path, resume: bool = False) -> dict[str, torch.Tensor]:
    return load_tensors(
        train(recipe, out=out, data_root=root, resume=resume, progress=False, device="cpu")
        / "model.safetensors"
    )


@pytest.mark.parametrize("prepared", [0, 6])
def test_other_clips_are_refused_on_resuming(prepared: int, folder: Path, tmp_path: Path) -> None:
    """Fewer, and as many with other names; the same clips in another place are the same."""
    out = tmp_path / "run"
    go(recipe(steps=1, prepared=prepared), out, folder)
    fewer, others, moved = (
        Path(shutil.copytree(folder, tmp_path / name)) for name in ("fewer", "others", "moved")
    )
    (fewer / "3.mkv").unlink()
    (others / "3.mkv").rename(others / "4.mkv")
    with pytest.raises(
        RunError, match=r"step 1 was made with other data \(of 4 examples, now 3\); .*--data"
    ):
        go(recipe(steps=2, prepared=prepared), out, fewer, resume=True)
    with pytest.raises(RunError, match=r"other data \(of as many examples \(4\), but others\)"):
        go(recipe(steps=2, prepared=prepared), out, others, resume=True)
    facts = json.loads((out / "checkpoints" / "step-0000001" / "state.json").read_text())["facts"]
    assert facts["data"]["examples"] == 4
    go(recipe(steps=2, prepared=prepared), out, moved, resume=True)


def break_after(step: int, clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoil files when that many steps are done."""
    advance = Run.advance

    def watched(run: Run) -> float:
        if run.step == step:
            for clip in clips:
                clip.write_bytes(b"no media any more")
        return advance(run)

    monkeypatch.setattr(Run, "advance", watched)


def test_a_clip_that_goes_bad_is_left_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """It is named once and counted, and a run that was stopped and resumed after that ends at the
    bits of one that wasn't.
    """
    results = []
    for name in ("straight", "stopped"):
        root, out = Path(shutil.copytree(folder, tmp_path / f"{name}-clips")), tmp_path / name
        with monkeypatch.context() as patch:
            break_after(1, [root / "1.mkv"], patch)
            if name == "stopped":
                go(recipe(steps=3, batch=4), out, root)
                assert capfd.readouterr().err.count("1.mkv") == 1
            results.append(go(recipe(steps=5, batch=4), out, root, resume=name == "stopped"))
        said = capfd.readouterr().err
        assert said.count("1.mkv") == 1, said
        assert (
            "clips, out of 3 (1 more couldn't be read)" in (out / "model" / "README.md").read_text()
        )
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@pytest.mark.parametrize("prepared", [0, 6])
def test_clips_that_are_bad_from_the_start(
    prepared: int, folder: Path, tmp_path: Path, capfd
) -> None:
    """They are told before the first step, and never tried."""
    root = Path(shutil.copytree(folder, tmp_path / "clips"))
    (root / "2.mkv").write_bytes(b"no media at all")
    go(recipe(steps=2, batch=4, prepared=prepared), tmp_path / "run", root)
    said = capfd.readouterr().err
    assert "1 of 4 clips can't be used, and are left out:" in said
    assert said.count("2.mkv") == 1


@pytest.mark.parametrize("step", [0, 2])
def test_a_disk_that_fails_costs_no_step(
    step: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no clip can be read any more, the steps are saved, and the run, when the clips are back,
    ends at the bits of one without trouble.
    """
    root, out = Path(shutil.copytree(folder, tmp_path / "clips")), tmp_path / "run"
    settings = recipe(steps=5, batch=4)
    with monkeypatch.context() as patch:
        break_after(step, sorted(root.iterdir()), patch)
        with pytest.raises(
            RunError,
            match=(
                r"none of the 4 clips can be read; the last one: .*\.mkv: .*(\n|.)*--resume and"
                r" --out"
            ),
        ):
            go(settings, out, root)
    saved = [path.name for path in (out / "checkpoints").iterdir()] if step else []
    assert saved == ([f"step-{step:07d}"] if step else [])
    shutil.copytree(folder, root, dirs_exist_ok=True)
    mended, straight = (
        go(settings, out, root, resume=True),
        go(settings, tmp_path / "straight", folder),
    )
    assert all(torch.equal(mended[name], straight[name]) for name in straight)


class Failing:
    """A data set of 100 examples, of which those in `bad` can't be read; it draws before it
    notices.
    """

    def __init__(self, *bad: int) -> None:
        self.bad, self.tried = set(bad), []

    def __len__(self) -> int:
        return 100

    def example(self, index: int, generator: torch.Generator) -> tuple[int, float]:
        self.tried.append(index)
        drawn = float(torch.rand((), generator=generator))
        if index in self.bad:
            raise MediaError(f"{index}.mp4: is bad")
        return index, drawn


def test_the_next_clip_takes_the_place_and_the_same_chance() -> None:
    told: list[str] = []
    data, chance = Failing(5, 6, 99), torch.Generator().manual_seed(1)
    readable = Readable(data, told.append)  # type: ignore[arg-type]
    first = float(torch.rand((), generator=torch.Generator().manual_seed(1)))
    assert readable.example(5, chance) == (7, first)
    assert [readable.example(n, chance)[0] for n in (6, 7, 99, 5)] == [7, 7, 0, 7]  # type: ignore[index]
    assert [data.tried.count(n) for n in (5, 6, 99)] == [1, 1, 1]
    assert len(told) == 3
    assert "6.mp4: is bad; this clip is left out from here on (2 of 100 so far)" in told[1]


def test_many_bad_clips_in_a_row_are_a_disk() -> None:
    data = Failing(*range(100))
    with pytest.raises(
        MediaError, match=r"7\.mp4: is bad\n8 clips in a row can't be read: is the disk still there"
    ):
        Readable(data, lambda text: None).example(0, torch.Generator())  # type: ignore[arg-type]
    assert len(data.tried) == 8


def test_an_error_that_no_user_can_mend_keeps_its_type(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a note on how to go on; the steps are saved all the same."""
    from harmony_parts.latents.sources import OnTheFly

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
