"""Help, errors and start-up of all commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harmony_parts.cli.main import cli


def commands(group: click.Group, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command and group, as words."""
    found = [before]
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            found += (
                commands(command, (*before, name))
                if isinstance(command, click.Group)
                else [(*before, name)]
            )
    return found


ALL = commands(cli)


def test_the_main_commands_exist():
    wanted = {
        ("parts", "list"),
        ("parts", "show"),
        ("explain",),
        ("train",),
        ("generate",),
        ("doctor",),
        ("demo",),
    }
    assert wanted <= set(ALL)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_explains_and_gives_examples(harmony, words):
    result = harmony(*words, "--help")
    assert result.exit_code == 0
    explanation, _, examples = result.output.partition("\nExamples:\n")
    assert len(explanation.split("\n\n")[1].split()) >= 8, "a paragraph that explains the command"
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    assert lines
    assert all(line.startswith("harmony ") for line in lines)
    if words:
        assert any(line.startswith(f"harmony {' '.join(words)}") for line in lines)
    assert all(line.startswith("  ") for line in examples.splitlines() if line)
    assert "--debug" in explanation


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_examples_name_options_and_commands_that_exist(words):
    """Every option of an example is one of its command's."""
    command: click.Command = cli
    for word in words:
        found = command.get_command(click.Context(command), word)  # type: ignore[attr-defined]
        assert found is not None
        command = found
    for example in command.examples:  # type: ignore[attr-defined]
        inner, rest = cli, example.split()[1:]
        while isinstance(inner, click.Group):
            found = inner.get_command(click.Context(inner), rest[0])
            assert found is not None, example
            inner, rest = found, rest[1:]
        known = {
            name
            for parameter in inner.params
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        assert {word for word in rest if word.startswith("--")} <= known, example


def test_listing_and_help_import_no_torch():
    """So that help and `harmony parts list` appear at once."""
    script = """
import sys
from harmony_parts.cli.main import cli
helps = [[command, "--help"] for command in ("train", "generate", "compare", "explain", "measure", "demo", "doctor")]
for args in (["parts", "list"], ["parts", "list", "guidance", "--json"], ["--help"], ["--version"], *helps):
    cli(args, standalone_mode=False)
loaded = {"torch", "torchaudio", "soundfile", "imageio_ffmpeg"} & set(sys.modules)
assert not loaded, loaded
"""  # noqa: E501
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "harmony_parts", "--version"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.startswith("harmony, version ")


@pytest.mark.parametrize(
    ("args", "near"),
    [
        (("generat",), "'generate'"),
        (("parts", "shwo"), "'show'"),
        (("parts", "list", "guidence"), "'guidance'"),
        (("explain", "dem"), "'demo'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(harmony, args, near):
    result = harmony(*args)
    assert result.exit_code in (1, 2)
    assert "did you mean" in result.stderr
    assert near in result.stderr


def test_usage_errors_exit_with_2(harmony, trained, tmp_path):
    for args in (
        ("generate", trained),
        ("generate", trained, "--out", tmp_path / "x.avi"),
        ("generate", trained, "--steps", "0", "--out", tmp_path / "x.mp4"),
        ("train",),
        ("measure", tmp_path / "absent.mp4"),
        ("train", "demo", "--device", "abacus"),
    ):
        result = harmony(*args)
        assert result.exit_code == 2, result.output
        assert "Error:" in result.stderr


def test_errors_are_printed_without_a_traceback(harmony, recipe, trained, tmp_path):
    silent = tmp_path / "text.mp4"
    silent.write_text("no video")
    cases = {
        ("explain", recipe, "--set", "train.steps=many"): "$.train.steps",
        ("explain", recipe, "--set", "denoiser.lyers=3"): "did you mean 'layers'",
        ("train", recipe, "--out", trained): "--resume",
        ("generate", tmp_path, "--out", tmp_path / "x.mp4"): str(tmp_path),
        ("generate", trained, "--video", silent, "--out", tmp_path / "x.mp4"): "text.mp4",
        (
            "generate",
            trained,
            "--set",
            "vidio=2",
            "--out",
            tmp_path / "x.mp4",
        ): "did you mean 'video'",
        ("measure", silent): "text.mp4",
    }
    for args, error in cases.items():
        result = harmony(*args)
        assert result.exit_code == 1, (args, result.output)
        assert error in result.stderr
        assert result.stderr.startswith("error: ")
        assert "Traceback" not in result.output
        assert len(result.stderr.splitlines()) <= 4


@pytest.mark.parametrize("place", ["before", "after", "environment"])
def test_debug_shows_the_traceback(harmony, place):
    args = {
        "before": ("--debug", "explain", "absent"),
        "after": ("explain", "absent", "--debug"),
        "environment": ("explain", "absent"),
    }[place]
    result = harmony(*args, **({"HARMONY_DEBUG": "1"} if place == "environment" else {}))
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "AssemblyError" in result.stderr


def test_an_unexpected_error_names_its_class_and_debug(harmony, recipe, monkeypatch):
    monkeypatch.setattr("harmony_parts.assembly.read.read_recipe", lambda *args: {}["here"])
    result = harmony("explain", recipe)
    assert result.exit_code == 1
    assert "KeyError: 'here'" in result.stderr
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_listing_can_be_cut_off():
    """`harmony parts list | head -1` exits without an error."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "harmony_parts", "parts", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_no_command_imports_torch_at_its_top():
    """The help imports every command, which imports the rest when it runs."""
    folder = Path(cli.callback.__code__.co_filename).parent  # type: ignore[union-attr]
    for file in folder.glob("*.py"):
        top = [
            line for line in file.read_text().splitlines() if line.startswith(("import ", "from "))
        ]
        assert not any(
            line.split()[1].split(".")[0] in ("torch", "torchaudio", "soundfile", "numpy", "rich")
            for line in top
        ), file
