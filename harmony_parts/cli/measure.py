"""`harmony measure`: the numbers of media files, by a metric."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import metrics
from harmony_parts.report.progress import progress
from harmony_parts.report.text import quantity

if TYPE_CHECKING:
    from harmony_parts.media.clip import Clip
    from harmony_parts.metrics.compare import Compared
    from harmony_parts.metrics.protocol import Metric, Reference

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    short_help="Measure media files by a metric.",
    examples=[
        "harmony measure out/demo/clips/*.mp4",
        "harmony measure clip.mp4 --metric correlation",
        "harmony measure a.mp4 b.mp4 --set tolerance=0.05 --json",
        "harmony measure hello.mp4 --metric voice-likeness --voice her.wav",
    ],
)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
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
    "--transcript",
    "transcripts",
    multiple=True,
    metavar="TEXT",
    help="The words that should be spoken: once for all files, or once for each in their order.",
)
@click.option(
    "--voice",
    "voices",
    multiple=True,
    type=FILE,
    help="A sound of the voice that should be heard: once, or once for each file.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    type=FILE,
    help="A picture of who should be seen: once, or once for each file.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON: an object with `files`, and `together` if there are several.",
)
def measure(
    files: tuple[Path, ...],
    metric: str,
    overrides: tuple[str, ...],
    transcripts: tuple[str, ...],
    voices: tuple[Path, ...],
    images: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Measure media files by a metric: their sync, or what is seen and heard in them.

    With several files, chance is measured too: the same pictures, re-paired with the sounds of
    the other files. Only the difference shows sync. Numbers after ± are standard errors over the
    files, given for five files or more. What the metric can't tell of a file is said below, with
    the reason. The metric correlation is at chance on speech.
    """
    from harmony_parts.assembly.overrides import apply_overrides
    from harmony_parts.assembly.tables import structure
    from harmony_parts.media.ffmpeg import executable
    from harmony_parts.metrics.compare import compare_analyses
    from harmony_parts.metrics.protocol import MetricSpec, analyse_all, reason, streams_read

    executable()  # an ffmpeg that can't run is no fault of the first file
    given = {"--transcript": transcripts, "--voice": voices, "--image": images}
    for option, values in given.items():
        if len(values) not in (0, 1, len(files)):
            raise click.UsageError(
                f"{option} is given {len(values)} times for {len(files)} files: give it once for"
                " all of them, or once for each in their order"
            )
    table = apply_overrides({"use": metric}, overrides, MetricSpec)
    chosen: Metric = structure(
        table,
        MetricSpec,  # type: ignore[type-abstract]
        name=f"the metric {metric}",
    ).build()
    references = [_reference(k, file, given) for k, file in enumerate(files)]
    analyses: list[Any] = []
    with progress("measuring") as step:
        for found in analyse_all(chosen, _clips(files, metric, streams_read(chosen))):
            analyses.append(found)
            step(len(analyses), len(files))
    pairs = list(zip(analyses, references, strict=True))
    scores = [chosen.score(found.video, found.audio, None, by) for found, by in pairs]
    reasons = [reason(chosen, found, by) for found, by in pairs]
    together = None
    if len(files) > 1:
        together = compare_analyses(chosen, analyses, references=references)
    if as_json:
        rows = [
            {"file": str(file), **numbers, **({"can't tell": why} if why else {})}
            for file, numbers, why in zip(files, scores, reasons, strict=True)
        ]
        result: dict[str, Any] = {"metric": metric, "files": rows}
        if together is not None:
            result["together"] = {name: number.json() for name, number in together.items()}
        click.echo(json.dumps(result, indent=2))
    else:
        _print(files, scores, reasons, together)


def _clips(files: Sequence[Path], metric: str, reads: Sequence[str]) -> Iterator[Clip]:
    """The clips. Raises MediaError if one lacks a stream that the metric reads."""
    from harmony_parts.errors import MediaError
    from harmony_parts.media.clip import Clip

    for file in files:
        clip = Clip.read(file)
        for stream, held, what in (
            ("video", clip.frames, "picture"),
            ("audio", clip.waveform, "sound"),
        ):
            if stream in reads and held is None:
                raise MediaError(f"{file}: has no {what}, which the metric {metric} reads")
        yield clip


def _reference(k: int, file: Path, given: Mapping[str, Sequence[Any]]) -> Reference:
    """What the file of this number should contain. Raises MediaError if a file can't be read."""
    from harmony_parts.media.clip import Clip
    from harmony_parts.metrics.protocol import Reference

    transcript, voice, image = (
        values[min(k, len(values) - 1)] if values else None for values in given.values()
    )
    picture = None if image is None else Clip.read(image, streams={"video"}).frames
    return Reference(
        transcript,
        None if voice is None else Clip.read(voice, streams={"audio"}),
        None if picture is None else picture[0],
        str(file),
    )


def _print(
    files: Sequence[Path],
    scores: Sequence[Mapping[str, float]],
    reasons: Sequence[str],
    together: Mapping[str, Compared] | None,
) -> None:
    """Print a table of each file's numbers, what can't be told of it, and all files with chance."""
    from harmony_parts.report import score_table

    names = list(dict.fromkeys(name for numbers in scores for name in numbers))
    lines = [
        [str(file), *(score_table.figure(n[name]) if name in n else "" for name in names)]
        for file, n in zip(files, scores, strict=True)
    ]
    score_table.print_table(["file", *names], lines)
    if any(reasons):
        click.echo()
    for file, why in zip(files, reasons, strict=True):
        if why:
            click.echo(f"{file}: can't tell: {why}")
    if together is not None:
        click.echo(
            f"\n{quantity(len(files), 'file')} together, and re-paired with each other (chance):\n"
        )
        lines = [[name, *score_table.cells(number)] for name, number in together.items()]
        score_table.print_table(["", *score_table.HEADER], lines)
