"""`harmony generate`: generate clips with a trained model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import guidances, models
from harmony_parts.cli.options import (
    RequestField,
    device_option,
    dtype_option,
    offload_for,
    offload_option,
    tf32_option,
    torch_dtype,
    usage_errors,
)
from harmony_parts.generate.generated import SUFFIXES
from harmony_parts.generate.request import Request

if TYPE_CHECKING:
    from harmony_parts.generate.jobs import Job
    from harmony_parts.models.offload import Offload


@click.command(
    cls=Command,
    short_help="Generate clips with a trained model.",
    examples=[
        'harmony generate runs/demo --prompt "a red ball bounces" --out ball.mp4',
        "harmony generate runs/clips --audio voice.wav --out talk.mp4      video for a given sound",
        "harmony generate runs/clips --video silent.mp4 --out dubbed.mp4   sound for a given video",
        "harmony generate runs/demo --begin ball.mp4 --seconds 6 --out longer.mp4     goes on",
        "harmony generate runs/demo --draft ball.mp4 --prompt rain --out rain.mp4     changes it",
        "harmony generate runs/clips --draft talk.mp4 --audio other.wav --out other.mp4",
        "harmony generate runs/demo --guidance sync-cfg --set video=3 --set audio=2 --out sync.mp4",
        "harmony generate runs/demo --guidance none --steps 10 --seed 7 --out quick.mp4 --preview",
        (
            "harmony generate big --prompt rain --offload layers --dtype bfloat16 --out rain.mp4"
            "   on a small GPU"
        ),
        "harmony generate runs/demo --batch prompts.csv --out clips        many clips; continues",
    ],
)
@click.argument("model", shell_complete=models)
@click.option("--prompt", help="What is seen.")
@click.option("--sound", help="What is heard.")
@click.option("--speech", help="What is spoken.")
@click.option(
    "--negative",
    help="Negative prompt of the picture, for guidances that drop text, such as cfg and apg.",
)
@click.option("--negative-sound", help="Negative prompt of the sound.")
@click.option(
    "--image", type=RequestField("image", "file"), help="First frame: a picture, or a video's."
)
@click.option(
    "--voice", type=RequestField("voice", "file"), help="A sound whose voice or timbre to follow."
)
@click.option(
    "--audio", type=RequestField("audio", "file"), help="Generate the video for this sound."
)
@click.option(
    "--video", type=RequestField("video", "file"), help="Generate the sound for this video."
)
@click.option(
    "--begin",
    type=RequestField("begin", "file"),
    help="Go on from the end of this clip; the result is both.",
)
@click.option(
    "--seconds",
    type=RequestField("seconds", "number"),
    help=(
        "Length; with --begin, of what follows.  [default: that of the given stream, else the"
        " model's]"
    ),
)
@click.option(
    "--overlap",
    type=RequestField("overlap", "number"),
    help=(
        "Make a clip that is longer than the model's in windows, each of which repeats so many"
        " seconds. One with --begin always is: then the default is a quarter of the model's."
    ),
)
@click.option(
    "--remake",
    type=RequestField("remake", "number"),
    help="Seconds of each window's end that the next makes again.  [default: 0.2]",
)
@click.option(
    "--draft",
    type=RequestField("draft", "file"),
    help="Start from this clip with noise, instead of from noise alone: change it.",
)
@click.option(
    "--strength",
    type=RequestField("strength", "number"),
    help="How much of the start is noise with --draft, above 0 and up to 1.  [default: 0.6]",
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
    help="Change a setting of the guidance. Can be repeated.",
)
@click.option(
    "--extra",
    "extras",
    multiple=True,
    metavar="KEY=VALUE",
    help="A field of the prompt for a plugin's encoder. Can be repeated.",
)
@click.option(
    "--steps",
    type=RequestField("steps", "integer"),
    help="Sampling steps.  [default: the recipe's]",
)
@click.option(
    "--seed",
    type=RequestField("seed", "integer"),
    default=0,
    show_default=True,
    help="Seed of the noise; another seed gives another clip.",
)
@click.option(
    "--batch",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=(
        "A .csv or .jsonl file with one request per line. Its columns are `name` and the request's"
        " options above; options set here apply where a cell is empty."
    ),
)
@click.option(
    "--preview",
    is_flag=True,
    help="Also draw each clip's frames and waveform, as a .png beside it.",
)
@click.option(
    "--preview-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help=(
        "Also draw it while sampling, every so many steps. Each drawing costs one decoding of the"
        " clip."
    ),
)
@click.option(
    "--lora",
    type=click.Path(exists=True, path_type=Path),
    help="Adapters for the model: the folder or file of a LoRA, or the run that trained it.",
)
@device_option
@dtype_option
@tf32_option
@offload_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help=f"The clip's file ({', '.join(SUFFIXES)}); with --batch a folder.",
)
@click.option("--force", is_flag=True, help="Replace the file of --out if it exists, unasked.")
def generate(
    model: str,
    guidance: str | None,
    overrides: tuple[str, ...],
    extras: tuple[str, ...],
    batch: Path | None,
    preview: bool,
    preview_every: int | None,
    lora: Path | None,
    device: str,
    dtype: str | None,
    tf32: bool,
    offload: Offload,
    out: Path,
    force: bool,
    **fields: Any,
) -> None:
    """Generate a clip with MODEL: video and sound together, or one of them for the other.

    MODEL is a run folder, a model folder, the name of a model on the Hugging Face Hub, or a recipe
    whose parts bring their own weights. A given stream stays unchanged: a video is copied, a sound
    is copied or kept without loss. The same seed, request and model give the same clip. What it was
    generated from is stored in the clip, and beside it (.json).
    """
    from harmony_parts.assembly.overrides import apply_overrides
    from harmony_parts.generate.checks import recipe_of, resolve_model
    from harmony_parts.generate.jobs import JobRunner, run_all
    from harmony_parts.generate.load import load
    from harmony_parts.generate.settings import choose_guidance

    preview = preview or preview_every is not None
    request = Request(**fields, extra=apply_overrides({}, extras) if extras else None)
    folder, jobs = _jobs(request, out, batch, preview)
    if batch is None and not force:
        _ask_to_replace(out)
    path = resolve_model(model)
    recipe, offload = recipe_of(path, guidance), offload_for(offload, device)
    chosen = choose_guidance(guidance, overrides, recipe.sample.guidance)
    jobs = [job.with_request(guidance=chosen) for job in jobs]
    runner = JobRunner(
        folder,
        path,
        recipe,
        lambda: load(
            path,
            device,
            torch_dtype(dtype),
            offload=offload,
            tf32=tf32,
            guidance=guidance,
            lora=lora,
        ),
        dtype=dtype,
        tf32=tf32,
        lora=lora,
        preview=preview,
        preview_every=preview_every,
        say=click.echo,
    )
    if batch is not None:
        run_all(runner, jobs)
        return
    with usage_errors():
        runner.run(jobs[0])


def may_ask() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty()


def _ask_to_replace(out: Path) -> None:
    """Ask whether an existing file may be replaced; an error if nobody can answer."""
    if not out.exists():
        return
    if not may_ask():
        raise click.UsageError(f"{str(out)!r} exists; choose another --out, or add --force")
    click.confirm(f"{out} exists. Replace it?", abort=True)


def _jobs(request: Request, out: Path, batch: Path | None, preview: bool) -> tuple[Path, list[Job]]:
    """(folder, jobs) of the command line or a batch file, checked as far as is possible by now."""
    from harmony_parts.generate.batch_file import read_batch
    from harmony_parts.generate.checks import check_writable
    from harmony_parts.generate.jobs import Job

    with usage_errors("--out"):
        check_writable(out, folder=batch is not None)
    if batch is None:
        with usage_errors():
            request.check()
            request.check_file(out, preview=preview)
        return out.parent, [Job(out.name, request)]
    if batch.suffix.lower() not in (".csv", ".jsonl"):
        raise click.BadParameter(f"{str(batch)!r} must end in .csv or .jsonl", param_hint="--batch")
    jobs = read_batch(batch, request)
    with usage_errors():
        for job in jobs:
            job.check_file(out, preview=preview)
    return out, jobs
