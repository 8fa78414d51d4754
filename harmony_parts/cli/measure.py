"""`harmony measure`: the sync of media files, by a metric."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import metrics
from harmony_parts.report.progress import console, progress
from harmony_parts.report.text import quantity


@click.command(
    cls=Command,
    short_help="Measure the sync of media files.",
    examples=[
        "harmony measure out/demo/*.mp4",
        "harmony measure clip.mp4 --metric correlation",
        "harmony measure a.mp4 b.mp4 --set tolerance=0.05 --json",
    ],
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE...",
)
@click.option(
    "--metric",
    default="events",
    shell_complete=metrics,
    show_default=True,
    help="A metric part (`harmony parts list metric`).",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the metric. Can be repeated.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON: an object with `files`, and `together` if there are several.",
)
def measure(
    files: tuple[Path, ...], metric: str, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Measure the sync of media files with picture and sound.

    With several files, chance is measured too: the same pictures, re-paired with the sounds of
    the other files. Only the difference shows sync. Numbers after +- are standard errors over the
    files, given for five files or more. The metric correlation is at chance on speech.
    """
    from harmony_parts.assembly.overrides import apply_overrides
    from harmony_parts.assembly.tables import structure
    from harmony_parts.errors import MediaError
    from harmony_parts.media.clip import Clip
    from harmony_parts.media.ffmpeg import executable
    from harmony_parts.metrics.compare import compare_analyses
    from harmony_parts.metrics.protocol import MetricSpec, streams_read

    executable()  # an ffmpeg that can't run is no fault of the first file
    table = apply_overrides({"use": metric}, overrides, MetricSpec)
    chosen = structure(table, MetricSpec, name=f"the metric {metric}").build()  # type: ignore[type-abstract]
    analyses: list[Any] = []
    with progress("measuring") as step:
        for number, file in enumerate(files, 1):
            found = chosen.analyse(Clip.read(file))
            for stream in streams_read(chosen):
                if getattr(found, stream) is None:
                    what = "picture" if stream == "video" else "sound"
                    raise MediaError(f"{file}: has no {what}, which the metric {metric} reads")
            analyses.append(found)
            step(number, len(files))
    scores = [chosen.score(found.video, found.audio) for found in analyses]
    together = None
    if len(files) > 1:
        compared = compare_analyses(chosen, analyses)
        together = {name: number.json() for name, number in compared.items()}
    if as_json:
        rows = [{"file": str(f), **numbers} for f, numbers in zip(files, scores, strict=True)]
        result: dict[str, Any] = {"metric": metric, "files": rows}
        click.echo(json.dumps(result | ({"together": together} if together else {}), indent=2))
    else:
        _print(files, scores, together)


def _print(
    files: Sequence[Path],
    scores: Sequence[Mapping[str, float]],
    together: Mapping[str, Mapping[str, Any]] | None,
) -> None:
    """Print a table of each file's numbers, then of all files with chance."""
    names = list(dict.fromkeys(name for numbers in scores for name in numbers))
    rows = [
        [str(file), *(_number(numbers.get(name)) for name in names)]
        for file, numbers in zip(files, scores, strict=True)
    ]
    _table(["file", *names], rows)
    if together is not None:
        click.echo(
            f"\n{quantity(len(files), 'file')} together, and re-paired with each other (chance):\n"
        )
        rows = [
            [name, *(_with_error(numbers, which) for which in ("paired", "repaired", "difference"))]
            for name, numbers in together.items()
        ]
        _table(["", "paired", "re-paired", "difference"], rows)


def _number(number: float | None) -> str:
    return (
        ""
        if number is None
        else f"{number:.0f}"
        if number == int(number) and abs(number) >= 1
        else f"{number:.3g}"
    )


def _with_error(numbers: Mapping[str, float], which: str) -> str:
    error = f" +- {numbers[f'{which}_error']:.2g}" if f"{which}_error" in numbers else ""
    return _number(numbers.get(which)) + error


def _table(header: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for k, name in enumerate(header):
        table.add_column(
            name, justify="left" if k == 0 else "right", no_wrap=k > 0, overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    console().print(table)
