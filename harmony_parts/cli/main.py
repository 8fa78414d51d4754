"""`harmony ...`. Each command is a file of its own, imported when it is called; importing this, or
any of them, imports no torch.
"""

from __future__ import annotations

import click

from harmony_parts.cli.command import Group


@click.group(
    cls=Group,
    lazy={
        "demo": "harmony_parts.cli.demo:demo",
        "train": "harmony_parts.cli.train:train",
        "generate": "harmony_parts.cli.generate:generate",
        "compare": "harmony_parts.cli.compare:compare",
        "measure": "harmony_parts.cli.measure:measure",
        "explain": "harmony_parts.cli.explain:explain",
        "parts": "harmony_parts.cli.parts:parts",
        "convert": "harmony_parts.cli.convert:convert",
        "doctor": "harmony_parts.cli.doctor:doctor",
        "completion": "harmony_parts.cli.completion:completion",
    },
    examples=[
        (
            "harmony demo                                              train a small model and see"
            " what it does"
        ),
        (
            "harmony train clips --data DIR                            train on a folder of your"
            " own clips"
        ),
        "harmony generate runs/clips --audio a.wav --out a.mp4     make the video for a sound",
        "harmony parts list                                        see what a model can be made of",
    ],
)
@click.version_option(package_name="harmony-parts", prog_name="harmony")
def cli() -> None:
    """Generate video and sound together, with parts that can be exchanged.

    A model is written down in a recipe (a TOML file, or the name of one that ships), trained into a
    run folder, and generates clips from there.

    Exit codes: 0, all is done; 1, something is wrong, and told; 2, the command line is wrong; 130,
    stopped by Ctrl-C.
    """


def main() -> None:
    """The console script."""
    cli(prog_name="harmony")
