"""`harmony`: the command line. Each command has a file, which imports no torch at its top."""

from __future__ import annotations

import click

from harmony_parts.cli.command import Group
from harmony_parts.cli.plugin_commands import COMMANDS
from harmony_parts.report.progress import escape_unencodable


@click.group(
    cls=Group,
    lazy={
        "demo": "harmony_parts.cli.demo:demo",
        "prepare": "harmony_parts.cli.prepare:prepare",
        "train": "harmony_parts.cli.train:train",
        "curriculum": "harmony_parts.cli.curriculum:curriculum",
        "train-codec": "harmony_parts.cli.train_codec:train_codec",
        "generate": "harmony_parts.cli.generate:generate",
        "compare": "harmony_parts.cli.compare:compare",
        "bench": "harmony_parts.cli.bench:bench",
        "measure": "harmony_parts.cli.measure:measure",
        "explain": "harmony_parts.cli.explain:explain",
        "runs": "harmony_parts.cli.runs:runs",
        "parts": "harmony_parts.cli.parts:parts",
        "convert": "harmony_parts.cli.convert:convert",
        "ship": "harmony_parts.cli.ship:ship",
        "doctor": "harmony_parts.cli.doctor:doctor",
        "completion": "harmony_parts.cli.completion:completion",
    },
    plugins=COMMANDS,
    elsewhere={"page": "harmony-page"},
    examples=[
        "harmony demo                                              see and hear a small model",
        "harmony train clips --data DIR                            train on a folder of clips",
        "harmony generate runs/clips --audio a.wav --out a.mp4     generate video for a sound",
        "harmony parts list                                        list the parts of models",
    ],
)
@click.version_option(package_name="harmony-parts", prog_name="harmony")
def cli() -> None:
    """Generate video and sound together, with a model of swappable parts.

    A recipe (a TOML file, or the name of a shipped one) defines a model. `harmony train` trains it
    into a run folder, and `harmony generate` generates clips with it.

    Exit codes: 0 success, 1 error (see stderr), 2 wrong usage, 130 interrupted.
    """


def main() -> None:
    """The console script."""
    escape_unencodable()
    cli(prog_name="harmony")
