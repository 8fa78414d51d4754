"""`harmony runs` on logs and recipes as a run writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from harmony_parts.cli.main import cli


def write_run(folder: Path, *, rate: float, losses: list[float], finished: bool = True) -> Path:
    """A run folder with a recipe, a log and perhaps a model."""
    folder.mkdir(parents=True)
    recipe = f'name = "tiny"\n[train]\nsteps = 40\n[train.optimizer]\nlearning_rate = {rate}\n'
    (folder / "recipe.toml").write_text(recipe)
    records = [
        {"step": 10 * n, "loss": x, "losses": {"joint.video": x / 2}, "seconds_per_step": 0.25}
        for n, x in enumerate(losses, 1)
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "log.jsonl").write_text(lines + '{"step": 99, "lo')
    if finished:
        (folder / "model").mkdir()
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_run(tmp_path / "runs" / "a", rate=0.1, losses=[4.0, 3.0, 2.5, 2.0])
    write_run(tmp_path / "runs" / "b", rate=0.2, losses=[4.0, 3.5], finished=False)
    (tmp_path / "runs" / "other").mkdir()
    return tmp_path / "runs"


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["runs", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def test_runs_are_listed_with_their_progress(runs: Path) -> None:
    lines = run("list", runs).splitlines()
    assert lines == [
        "a  40 of 40 steps, loss 2.0000, 0.250 s a step, finished",
        "b  20 of 40 steps, loss 3.5000, 0.250 s a step, unfinished",
    ]
    assert "no runs in" in run("list", runs / "other")
    assert run("list", runs / "a").startswith("a  40 of 40")


def test_a_run_is_shown_with_its_losses(runs: Path, tmp_path: Path) -> None:
    text = run("show", runs / "a", "--plot", tmp_path / "a.png")
    assert "losses/joint.video  2.0000 (step 10) -> 1.0000 (step 40)" in text
    with Image.open(tmp_path / "a.png") as picture:
        blue = (np.asarray(picture) == (38, 98, 190)).all(2)
    assert blue.sum() > 200  # the curve and its legend


def test_runs_are_compared_by_settings_and_losses(runs: Path, tmp_path: Path) -> None:
    text = run("compare", runs / "a", runs / "b", "--plot", tmp_path / "ab.png")
    assert "$.train.optimizer.learning_rate: was 0.1, is now 0.2" in text
    assert f"{runs / 'b'}: loss 3.5000" in text
    assert (tmp_path / "ab.png").is_file()


def test_faults_are_named(runs: Path) -> None:
    result = CliRunner().invoke(cli, ["runs", "show", str(runs / "other")])
    assert result.exit_code == 1
    assert "not a run folder" in result.output
    result = CliRunner().invoke(cli, ["runs", "compare", str(runs / "a"), "--number", "los"])
    assert result.exit_code == 1
    assert "did you mean 'loss'" in result.output
