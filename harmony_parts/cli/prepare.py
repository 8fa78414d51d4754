"""`harmony prepare`: recordings to tar shards of latents and conditions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import recipes
from harmony_parts.cli.options import SEED, device_option, set_option
from harmony_parts.report.progress import print_stderr, progress

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.av import Format


class Size(click.ParamType):
    """HEIGHTxWIDTH in pixels."""

    name = "HEIGHTxWIDTH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """(height, width)."""
        if isinstance(value, tuple):
            return value
        height, x, width = str(value).lower().partition("x")
        if not x or not height.isdecimal() or not width.isdecimal() or not int(height) * int(width):
            self.fail(f"{value!r} isn't HEIGHTxWIDTH, such as 704x1280", param, ctx)
        return int(height), int(width)


@click.command(
    cls=Command,
    short_help="Encode recordings once, for training.",
    examples=[
        "harmony prepare clips/ prepared/ --recipe clips         a folder, texts beside the clips",
        "harmony prepare list.jsonl prepared/ --recipe clips     a manifest: CSV, JSONL, Parquet",
        "harmony prepare tars/ prepared/ --recipe clips          webdataset archives",
        "harmony prepare soundstage prepared/ --recipe demo --set data.size=10000",
        "harmony prepare clips/ prepared/ --recipe clips --seconds 3 --seconds 5",
        "harmony train clips --data prepared/ --set source.use=shards",
    ],
)
@click.argument("source")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--recipe",
    default="clips",
    show_default=True,
    shell_complete=recipes,
    help="The recipe of the model that will train on the clips.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that read recordings; 0: none beside this one.  [default: one a core]",
)
@click.option(
    "--seconds",
    multiple=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Length of clips; several make clips of several lengths.  [default: the recipe's]",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=Size(),
    help="Size of clips; several make clips of several shapes.  [default: the recipe's]",
)
@click.option(
    "--voices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Reference voices a clip, which training uses in turn.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of cuts and voices.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Type of the stored numbers; training computes in float32 in any case.",
)
@click.option(
    "--shard-clips",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Recordings a shard: as many are read again after a kill.",
)
@set_option
@device_option
def prepare(
    source: str,
    out: Path,
    recipe: str,
    workers: int | None,
    seconds: tuple[float, ...],
    sizes: tuple[tuple[int, int], ...],
    voices: int,
    seed: int,
    dtype: str,
    shard_clips: int,
    overrides: tuple[str, ...],
    device: str,
) -> None:
    """Encode the recordings of SOURCE into the folder OUT, as a recipe's model reads them.

    SOURCE is a folder of media files, a manifest (CSV, JSONL or Parquet), a webdataset archive or a
    folder of them, or the name of a procedural data set. OUT gets tar shards that webdataset reads
    too, an index, and a report of what was left out and why. After Ctrl-C or a kill the same
    command continues.
    """
    import os

    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.latents.prepare_report import report_lines
    from harmony_parts.latents.prepare_shards import Preparation, prepare_shards

    read, root = _with_source(read_recipe(recipe, overrides), source, voices)
    settings = Preparation(
        formats=_formats(read.format, seconds, sizes),
        filters=read.filters,
        variants=voices,
        seed=seed,
        dtype=dtype,
        shard_clips=shard_clips,
    )
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with progress("preparing clips") as step:
        report = prepare_shards(
            read,
            out,
            root=root,
            settings=settings,
            workers=(count or 1) if workers is None else workers,
            device=device,
            say=print_stderr,
            progress=step,
        )
    for line in report_lines(report):
        click.echo(line)


def _formats(
    form: Format, seconds: tuple[float, ...], sizes: tuple[tuple[int, int], ...]
) -> tuple[Format, ...]:
    """Every length in every size."""
    import attrs

    return tuple(
        attrs.evolve(form, seconds=length, height=height, width=width)
        for height, width in sizes or ((form.height, form.width),)
        for length in seconds or (form.seconds,)
    )


def _with_source(recipe: Recipe, source: str, voices: int) -> tuple[Recipe, Path | None]:
    """The recipe with the data set that reads SOURCE, and the folder that it reads.

    The recipe's own data set is used if it can read it.
    """
    import attrs

    from harmony_parts.assembly.catalogue import catalogue
    from harmony_parts.av import STREAMS
    from harmony_parts.data.clips import ClipFolder
    from harmony_parts.data.manifests import READERS
    from harmony_parts.data.soundstage import Soundstage
    from harmony_parts.data.tars import ClipTars
    from harmony_parts.errors import RunError, UnknownPart

    path, data, root = Path(source), recipe.data, None
    if not path.exists():
        try:
            cls = catalogue().load("data", source)
        except UnknownPart as error:
            raise RunError(f"{source}: no such file or folder, and {error}") from error
        data = data if isinstance(data, cls) else cls()
    elif path.suffix == ".tar" or (path.is_dir() and any(path.rglob("*.tar"))):
        data, root = (data if isinstance(data, ClipTars) else ClipTars()), path
    elif path.is_file() and path.suffix.lower() in READERS:
        data = data if isinstance(data, ClipFolder) else ClipFolder()
        data, root = attrs.evolve(data, manifest=path.name), path.parent
    elif path.is_file():
        raise RunError(
            f"{path}: is neither a manifest ({', '.join(READERS)}) nor an archive (.tar); for media"
            " files, name their folder"
        )
    else:
        data, root = (ClipFolder() if isinstance(data, Soundstage | ClipTars) else data), path
    if isinstance(data, ClipFolder | ClipTars):
        wanted = tuple(s for s in STREAMS if getattr(recipe.codecs, s) is not None)
        streams = tuple(s for s in data.streams if s in wanted) or wanted
        # a recording is decoded once for each voice; without others, none is needed again
        data = attrs.evolve(data, streams=streams, memory_mb=0.0 if voices == 1 else data.memory_mb)
    if isinstance(data, ClipFolder):
        data = attrs.evolve(data, check=False)
    return attrs.evolve(recipe, data=data), root
