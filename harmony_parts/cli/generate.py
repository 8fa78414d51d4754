"""`harmony generate`: from a model to a clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import guidances, models
from harmony_parts.cli.options import (
    SEED,
    device_option,
    dtype_option,
    finite,
    offload_option,
    offloading,
    typed,
)
from harmony_parts.generate.batch_file import SUFFIXES, Request, read_batch
from harmony_parts.generate.checks import found, recipe_of, sensible, writable
from harmony_parts.generate.jobs import Work, make_all
from harmony_parts.generate.settings import choose

if TYPE_CHECKING:
    from harmony_parts.models.offload import Offload

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    short_help="Make clips with a trained model.",
    examples=[
        (
            'harmony generate runs/demo --prompt "a red ball bounces" --out ball.mp4      picture'
            " and sound together"
        ),
        (
            "harmony generate runs/clips --audio voice.wav --out talk.mp4                 the video"
            " for a sound"
        ),
        (
            "harmony generate runs/clips --video silent.mp4 --out dubbed.mp4              the sound"
            " for a video"
        ),
        (
            "harmony generate runs/demo --guidance sync-cfg --set video=3 --set audio=2 --out"
            " strong.mp4"
        ),
        "harmony generate runs/demo --guidance none --steps 10 --seed 7 --out quick.mp4 --preview",
        (
            "harmony generate big --prompt rain --offload layers --dtype bfloat16 --preview-every"
            " 10 --out rain.mp4      on a small GPU"
        ),
        (
            "harmony generate runs/demo --batch prompts.csv --out clips                   many,"
            " those that are made already left out"
        ),
    ],
)
@click.argument("model", shell_complete=models)
@click.option("--prompt", help="What is seen.")
@click.option("--sound", help="What is heard.")
@click.option("--speech", help="What is said.")
@click.option(
    "--image", type=FILE, help="A picture, or a video, whose (first) frame the clip begins with."
)
@click.option("--voice", type=FILE, help="A sound whose voice or timbre to take after.")
@click.option("--audio", type=FILE, help="Make the video for this sound.")
@click.option("--video", type=FILE, help="Make the sound for this video.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Length.  [default: that of what is given, else the model's]",
)
@click.option(
    "--guidance",
    metavar="NAME",
    shell_complete=guidances,
    help="A guidance part (`harmony parts list guidance`).  [default: the recipe's]",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the guidance; may be repeated.",
)
@click.option(
    "--extra",
    "extras",
    multiple=True,
    metavar="KEY=VALUE",
    help="A field of the prompt that a plugin's encoder reads; may be repeated.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Sampling steps.  [default: the recipe's]"
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Another seed makes another clip."
)
@click.option(
    "--batch",
    type=FILE,
    help=(
        "A .csv or .jsonl file, a request a line: its columns are the options above (but --set),"
        " and `name`. Other options hold for all lines."
    ),
)
@click.option(
    "--preview",
    is_flag=True,
    help="Also draw each clip's frames above its sound: a .png beside it.",
)
@click.option(
    "--preview-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help=(
        "Draw it after every so many steps too, as the clip is becoming; each time takes as long as"
        " decoding the clip."
    ),
)
@device_option
@dtype_option
@offload_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help=f"{', '.join(SUFFIXES)}; with --batch a folder.",
)
def generate(
    model: str,
    guidance: str | None,
    overrides: tuple[str, ...],
    extras: tuple[str, ...],
    steps: int | None,
    seed: int,
    batch: Path | None,
    preview: bool,
    preview_every: int | None,
    device: str,
    dtype: str | None,
    offload: Offload,
    out: Path,
    **asked: Any,
) -> None:
    """Make a clip with MODEL: picture and sound together, or one of them for the other, which is
    given.

    MODEL is a run or model folder, a model's name on the Hugging Face Hub, or a recipe whose parts
    bring all of their weights from elsewhere. What is given stays as it is: a video's stream is
    copied, a sound is copied or kept without loss. Everything that isn't asked for is left to the
    model. The same seed, request and model make the same clip. What it was made from is noted in
    the file, and beside it (.json).
    """
    writable(out, batch is not None)
    preview = preview or preview_every is not None
    if batch is not None and batch.suffix.lower() not in (".csv", ".jsonl"):
        raise click.BadParameter(f"{str(batch)!r} must end in .csv or .jsonl", param_hint="--batch")
    from harmony_parts.assembly.overrides import apply_overrides

    if extras:
        asked["extra"] = apply_overrides({}, extras)
    general = {"seed": seed, "steps": steps, **asked}
    folder, requests = (
        (out, read_batch(batch, seed)) if batch else (out.parent, [Request("", out.name, {})])
    )
    jobs = [attrs.evolve(request, asked={**general, **request.asked}) for request in requests]
    for job in jobs:
        sensible(job, folder, preview)
    path = found(model)
    recipe, kept = recipe_of(path), offloading(offload, device)
    chosen = choose(guidance, overrides, recipe.sample.guidance)
    jobs = [attrs.evolve(job, asked={**job.asked, "guidance": chosen}) for job in jobs]
    from harmony_parts.generate.load import load

    work = Work(
        folder,
        path,
        recipe,
        lambda: load(path, device, typed(dtype), offload=kept),
        dtype,
        preview,
        preview_every,
    )
    if batch is None:
        work.make(jobs[0])
    else:
        make_all(work, jobs)
