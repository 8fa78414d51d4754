"""`harmony generate`: from a model to a clip."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.catalogue import nearest
from harmony_parts.cli.command import Command
from harmony_parts.cli.format import duration, progress
from harmony_parts.cli.options import SEED, device_option, finite
from harmony_parts.errors import RunError

if TYPE_CHECKING:
    from harmony_parts.guidance.protocol import Guidance

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SOUND_ONLY = (".wav", ".flac")
SUFFIXES = (".mp4", ".mkv", *SOUND_ONLY)


def _writable(ctx: click.Context, parameter: click.Parameter, value: Path) -> Path:
    """Known before the work begins: that the file can be written. Its folder is made when it is."""
    if value.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"{str(value)!r} must end in one of {', '.join(SUFFIXES)}", ctx, parameter)
    there = next(folder for folder in value.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        cause = "can't be written to" if there.is_dir() else "is no folder"
        raise click.BadParameter(f"{str(value)!r} can't be written: {str(there)!r} {cause}", ctx, parameter)
    return value


def _apart(out: Path, given: dict[str, Path | None]) -> None:
    """No file that is given is written over. Raises UsageError, naming both."""
    for name, file in given.items():
        if file is not None and out.exists() and out.samefile(file):
            raise click.UsageError(f"--out {out} is the file of --{name} {file}, which would be lost; write another one")


@click.command(
    cls=Command,
    short_help="Make a clip with a trained model.",
    examples=[
        'harmony generate runs/demo --prompt "a red ball bounces" --out ball.mp4      picture and sound together',
        "harmony generate runs/clips --audio voice.wav --out talk.mp4                 the video for a sound",
        "harmony generate runs/clips --video silent.mp4 --out dubbed.mp4              the sound for a video",
        "harmony generate runs/demo --guidance sync-cfg --set video=3 --set audio=2 --out strong.mp4",
        "harmony generate runs/demo --guidance none --steps 10 --seed 7 --out quick.mp4",
    ],
)
@click.argument("model")
@click.option("--prompt", help="What is seen.")
@click.option("--sound", help="What is heard.")
@click.option("--speech", help="What is said.")
@click.option("--image", type=FILE, help="A picture, or a video, whose (first) frame the clip begins with.")
@click.option("--voice", type=FILE, help="A sound whose voice or timbre to take after.")
@click.option("--audio", type=FILE, help="Make the video for this sound.")
@click.option("--video", type=FILE, help="Make the sound for this video.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Length.  [default: that of what is given, else the model's]",
)
@click.option("--guidance", metavar="NAME", help="A guidance part (`harmony parts list guidance`).  [default: the recipe's]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the guidance; may be repeated.")
@click.option(
    "--extra", "extras", multiple=True, metavar="KEY=VALUE", help="A field of the prompt that a plugin's encoder reads; may be repeated."
)
@click.option("--steps", type=click.IntRange(min=1), help="Sampling steps.  [default: the recipe's]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Another seed makes another clip.")
@device_option
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), callback=_writable, required=True, help=f"{', '.join(SUFFIXES)}.")
def generate(
    model: str,
    guidance: str | None,
    overrides: tuple[str, ...],
    extras: tuple[str, ...],
    steps: int | None,
    seed: int,
    device: str,
    out: Path,
    **asked: Any,
) -> None:
    """Make a clip with MODEL, a run or model folder: picture and sound together, or one of them for the other, which is given.

    What is given stays as it is: a video's stream is copied, a sound is copied or kept without loss. Everything that isn't asked for is left
    to the model. The same seed, request and model make the same clip.
    """
    if asked["audio"] and asked["video"]:
        raise click.UsageError("--audio and --video are both given, which leaves nothing to make; leave one out")
    if asked["audio"] and out.suffix.lower() in SOUND_ONLY:
        raise click.UsageError(f"the sound is given, so what is made is a video: --out must end in .mp4 or .mkv, not {out.suffix}")
    _apart(out, {name: asked[name] for name in ("image", "voice", "audio", "video")})
    from harmony_parts.assemble import apply_overrides
    from harmony_parts.mux import check_copy
    from harmony_parts.pipeline import load

    if out.suffix.lower() not in SOUND_ONLY:
        check_copy(out, copy_video_from=asked["video"], copy_sound_from=asked["audio"])
    asked["extra"] = apply_overrides({}, extras)
    pipeline = load(_found(model), device)
    chosen = choose(guidance, overrides, pipeline.recipe.sample.guidance)
    began = time.perf_counter()
    with progress("sampling") as step:
        made = pipeline.generate(**asked, guidance=chosen, steps=steps, seed=seed, progress=lambda done, total, _: step(done, total))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() in SOUND_ONLY:
        made.clip.save(out)  # of the clip, the sound alone
    else:
        made.save(out)
    click.echo(f"{out}: {describe(out)}")
    click.echo(f"took {duration(time.perf_counter() - began)} on {device}, seed {seed}")


def choose(name: str | None, overrides: tuple[str, ...], own: Guidance) -> Guidance:
    """The guidance of that name, else `own`, with some settings changed. Raises AssemblyError."""
    if name is None and not overrides:
        return own
    from harmony_parts.assemble import apply_overrides
    from harmony_parts.guidance.protocol import Guidance
    from harmony_parts.structure import structure, unstructure

    where = f"the guidance {name}" if name else "the recipe's guidance"
    table = {"use": name} if name else unstructure(own, kind="guidance")
    changed: Guidance = structure(apply_overrides(table, overrides, Guidance), Guidance, where=where)  # type: ignore[type-abstract]
    return changed


def describe(file: Path) -> str:
    """What is in a file that was written: length, picture, sound."""
    from harmony_parts.ffmpeg import probe

    held = probe(file)
    video, audio = held.video, held.audio
    pieces = [f"{float(held.seconds):.2f} s"] if held.seconds else []
    pieces += [f"{video.codec} {video.width} x {video.height} at {float(video.fps):.4g} fps"] if video else []
    pieces += [f"{audio.codec} at {audio.sample_rate} Hz"] if audio else []
    return ", ".join(pieces)


def _found(model: str) -> Path:
    """The folder, or an error that names the nearest one."""
    path = Path(model)
    if path.exists():
        return path
    runs = sorted(str(folder) for folder in Path("runs").glob("*/"))
    near = nearest(model, runs) or nearest(str(Path("runs", model)), runs)
    from harmony_parts.assemble import shipped_recipes

    hint = "" if near or model not in shipped_recipes() else f"; {model!r} is a recipe: `harmony train {model}` makes a model of it"
    raise RunError(f"there is no model or run folder {model!r}{near}{hint}")
