"""`harmony train-codec`: a run from the command line, and its usage errors."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.cli.main import cli

TINY = ["demo", "--set", "codecs.video={use='conv-video',width=8}", "--set", "format.seconds=1.5"]


def harmony(*args: object) -> Result:
    words = ["train-codec", *TINY, *map(str, args)]
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, words, prog_name="harmony")


def test_a_run_gives_weights_and_the_setting_for_them(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = harmony("--out", out, "--steps", 2, "--batch", 1, "--examples", 2)
    assert done.exit_code == 0, done.output
    assert (out / "recipe.toml").is_file()
    assert (out / "log.jsonl").read_text().count("\n") == 1
    setting = shlex.split(done.output.splitlines()[-1].removeprefix("use: --set "))[0]
    recipe = read_recipe("demo", [TINY[2], setting])
    assert build(recipe).codecs.video.channels == 16  # type: ignore[union-attr]
    again = harmony("--out", out, "--steps", 2, "--batch", 1, "--examples", 2)
    assert (again.exit_code, "already holds a run" in again.output) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--decoder-only"], "--decoder-only needs --start"),
        (["--learning-rate", "0"], "0.0 is not in the range"),
        (["--steps", "0"], "0 is not in the range"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    done = harmony("--out", tmp_path, *options)
    assert (done.exit_code, message in done.output) == (2, True), done.output
