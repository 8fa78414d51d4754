"""Commands that installed packages add."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import click
import pytest

from harmony_parts.cli import plugin_commands
from harmony_parts.cli.plugin_commands import COMMANDS


@click.command(short_help="Say hello.")
def hello() -> None:
    click.echo("hello from a plugin")


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Three entry points: a command, one whose module is absent, and one that is no command."""
    targets = {"hello": f"{__name__}:hello", "lost": "no_such_module:x", "odd": "math:pi"}
    targets["train"] = f"{__name__}:hello"  # the name of a built-in command
    points = [EntryPoint(name, target, COMMANDS) for name, target in targets.items()]
    monkeypatch.delenv("HARMONY_PARTS_PLUGINS", raising=False)
    monkeypatch.setattr(plugin_commands, "entry_points", lambda group: points)
    monkeypatch.setattr(EntryPoint, "load", _load)


def _load(point: EntryPoint):
    """As `EntryPoint.load`, but this file is no module that can be imported by name."""
    return hello if point.value.startswith(__name__) else _loaded(point)


_loaded = EntryPoint.load


def test_a_plugins_command_is_listed_and_runs(harmony):
    """After the built-in ones."""
    listed = harmony("--help").output
    assert listed.index("completion ") < listed.index("hello ")
    assert "Say hello." in listed
    assert harmony("hello").output == "hello from a plugin\n"


@pytest.mark.parametrize(
    ("name", "fault"), [("lost", "no_such_module"), ("odd", "no click command")]
)
def test_a_broken_command_is_listed_with_its_fault_and_says_it(harmony, name, fault):
    """With any arguments; the other commands work."""
    assert "(broken: " in harmony("--help").output
    result = harmony(name, "x", "--out", "y")
    assert result.exit_code == 1
    assert fault in result.stderr


def test_built_in_commands_stay(harmony):
    """A plugin can't replace one, and it is listed once."""
    listed = harmony("--help").output
    assert listed.count("Train a model from a recipe.") == listed.count("Say hello.") == 1
    assert "hello" not in harmony("train", "--help").output


def test_an_absent_plugin_is_named_with_its_remedy(harmony, monkeypatch):
    """So is any command, if HARMONY_PARTS_PLUGINS excludes it."""
    result = harmony("page", "runs/demo")
    assert result.exit_code == 2
    assert "the plugin harmony-page, which isn't installed: pip install" in result.stderr
    monkeypatch.setenv("HARMONY_PARTS_PLUGINS", "none")
    assert "there is no command 'hello'" in harmony("hello").stderr
