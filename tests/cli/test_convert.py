"""`harmony convert`: its output, files and errors."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner, Result
from helpers import toy_weights as toys

from harmony_parts.cli.main import cli


def harmony(*args: object) -> Result:
    """The result of `harmony convert`: exit code and output."""
    return CliRunner(env={"COLUMNS": "100"}).invoke(
        cli, ["convert", *(str(arg) for arg in args)], prog_name="harmony"
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The file of the toy models' recipe."""
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(toys.RECIPE))
    return tmp_path / "tiny.toml"


def test_a_table_lists_the_fates_of_the_tensors(
    files: toys.Files, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pair"
    configs = [word for config in files.configs for word in ("--config", config)]
    done = harmony(
        "wan",
        files.wan,
        "--audio",
        files.ovi,
        "--init",
        "mmdit",
        *configs,
        "--recipe",
        recipe,
        "--set",
        "train.steps=7",
        "--dtype",
        "bfloat16",
        "--report",
        tmp_path / "report.json",
        "--out",
        out,
    )
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.output.splitlines()]
    assert ["mapped", "denoiser.blocks.*.video", "54", "24", "k"] in rows
    assert ["initialised", "denoiser.blocks.*.interaction"] in [row[:2] for row in rows]
    assert ["unused", "audio_model.blocks.*.cross_attn"] in [row[:2] for row in rows]
    assert (
        "to be trained: denoiser.branches.audio, denoiser.blocks.*.interaction, encoders.caption,"
        " encoders.sound; until then" in done.output
    )
    assert len(done.output.splitlines()) < 30
    assert json.loads((tmp_path / "report.json").read_text())["counts"]["mapped"] > 100
    assert "steps = 7" in (out / "recipe.toml").read_text()
    again = harmony("wan", files.wan, "--out", out)
    assert again.exit_code == 1
    assert "already exists" in again.output


def test_a_converted_model_converts_back(files: toys.Files, recipe: Path, tmp_path: Path) -> None:
    configs = [word for config in files.configs for word in ("--config", config)]
    done = harmony("ovi", files.ovi, *configs, "--recipe", recipe, "--out", tmp_path / "ovi")
    assert done.exit_code == 0, done.output
    assert "initialised  encoders" in done.output
    done = harmony("back", "ovi", tmp_path / "ovi", "--out", tmp_path / "a.safetensors")
    assert (
        done.output
        == f"{tmp_path / 'a.safetensors'}: {len(files.ovi_tensors)} tensors in the layout ovi\n"
    )


def test_initialised_parts_are_listed_with_the_next_command(
    files: toys.Files, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name, on the terminal and in the card. The printed command trains the model."""
    monkeypatch.chdir(tmp_path)
    done = harmony(
        "ovi",
        files.ovi,
        "--config",
        files.wan_config,
        "--config",
        files.audio_config,
        "--recipe",
        recipe,
        "--out",
        "my model",
    )
    assert (
        "initialised, to be trained: encoders.caption, encoders.sound; until then the model's clips"
        " are meaningless\n" in done.output
    )
    assert (
        "- Fresh, to be trained: `encoders.caption`, `encoders.sound`\n"
        in Path("my model", "README.md").read_text()
    )
    assert "harmony generate" not in done.output
    (command,) = re.findall(
        r"^next: harmony (.+), with a folder of clips for CLIPS$", done.output, re.MULTILINE
    )
    Path("CLIPS").mkdir()
    trained = CliRunner().invoke(cli, shlex.split(command), prog_name="harmony")
    assert trained.exit_code == 0, trained.output
    assert Path("runs", "my model", "model").is_dir()


def test_mistakes_are_reported_without_a_traceback(files: toys.Files, tmp_path: Path) -> None:
    for words, cause in (
        (("wan", files.wan, "--init", "gldi", "--out", tmp_path / "x"), "give both or neither"),
        (("wan", tmp_path / "none", "--out", tmp_path / "x"), "does not exist"),
        (
            ("ovi", files.ovi, "--out", tmp_path / "x", "--report", tmp_path / "no" / "r.json"),
            "there is no folder",
        ),
        (("ovi", files.ovi, "--out", tmp_path / "x", "--recipe", "ovj"), "did you mean 'ovi'"),
        (("back", "wan", tmp_path, "--out", tmp_path / "x"), "neither a model"),
    ):
        done = harmony(*words)
        assert done.exit_code != 0
        assert cause in done.output, done.output
        assert "Traceback" not in done.output
