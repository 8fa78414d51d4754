"""`harmony measure`: the sync of media files, by a metric."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import metrics
from harmony_parts.report.progress import progress
from harmony_parts.report.text import quantity

if TYPE_CHECKING:
    from harmony_parts.metrics.compare import Compared


@click.command(
    cls=Command,
    short_help="Measure the sync of media files.",
    examples=[
        "harmony measure out/demo/clips/*.mp4",
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
    the other files. Only the difference shows sync. Numbers after ± are standard errors over the
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
    together = compare_analyses(chosen, analyses) if len(files) > 1 else None
    if as_json:
        rows = [{"file": str(f), **numbers} for f, numbers in zip(files, scores, strict=True)]
        result: dict[str, Any] = {"metric": metric, "files": rows}
        if together is not None:
            result["together"] = {name: number.json() for name, number in together.items()}
        click.echo(json.dumps(result, indent=2))
    else:
        _print(files, scores, together)


def _print(
    files: Sequence[Path],
    scores: Sequence[Mapping[str, float]],
    together: Mapping[str, Compared] | None,
) -> None:
    """Print a table of each file's numbers, then of all files with chance."""
    from harmony_parts.report import score_table

    names = list(dict.fromkeys(name for numbers in scores for name in numbers))
    lines = [
        [str(file), *(score_table.figure(n[name]) if name in n else "" for name in names)]
        for file, n in zip(files, scores, strict=True)
    ]
    score_table.print_table(["file", *names], lines)
    if together is not None:
        click.echo(
            f"\n{quantity(len(files), 'file')} together, and re-paired with each other (chance):\n"
        )
        lines = [[name, *score_table.cells(number)] for name, number in together.items()]
        score_table.print_table(["", *score_table.HEADER], lines)
