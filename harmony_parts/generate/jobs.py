"""Making clips with a loaded model, one or many, and noting what each was made from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.cli.command import INTERRUPTED
from harmony_parts.errors import HarmonyError, RunError
from harmony_parts.generate.batch_file import SOUND_ONLY, TEXTS, Request
from harmony_parts.report.progress import complain, progress
from harmony_parts.report.text import duration, quantity

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.generate.pipeline import Pipeline
    from harmony_parts.media.clip import Clip
    from harmony_parts.sample.sampler import Step


class Work:
    """A model, which is loaded when it is first asked for something, and how its clips are made and
    noted.
    """

    def __init__(
        self,
        folder: Path,
        model: Path,
        recipe: Recipe,
        load: Callable[[], Pipeline],
        dtype: str | None = None,
        preview: bool = False,
        preview_every: int | None = None,
    ) -> None:
        from harmony_parts.generate.provenance import digest
        from harmony_parts.models.folder import find_model, weight_files

        self.folder, self.recipe, self.preview, self.every, self._load = (
            folder,
            recipe,
            preview,
            preview_every,
            load,
        )
        files = [] if model.suffix == ".toml" else weight_files(find_model(model))
        self.weights = "-".join([*map(digest, files), *([dtype] if dtype else [])])

    @cached_property
    def pipeline(self) -> Pipeline:
        """The loaded model."""
        return self._load()

    def note(self, job: Request) -> dict[str, Any]:
        """What the job's clip is made from."""
        from harmony_parts.assembly.tables import unstructure
        from harmony_parts.generate.provenance import note

        asked = {
            name: value
            for name, value in job.asked.items()
            if name not in ("seed", "steps", "guidance")
        }
        steps = job.asked["steps"] or self.recipe.sample.steps
        guidance = unstructure(job.asked["guidance"], kind="guidance")
        return note(
            self.recipe, self.weights, asked, seed=job.asked["seed"], steps=steps, guidance=guidance
        )

    def make(self, job: Request) -> None:
        """Make a clip, its note, and its picture where that is wanted."""
        from harmony_parts.generate import provenance

        self._possible(job)
        out, noted, began = self.folder / job.name, self.note(job), time.perf_counter()
        with progress("sampling") as bar:

            def tell(step: Step) -> None:
                bar(step.done, step.steps)
                if self.every and step.done % self.every == 0 and step.done < step.steps:
                    self.sheet(
                        job,
                        self.pipeline.decode(step.estimate)[0],
                        f", after step {step.done} of {step.steps}",
                    )

            made = self.pipeline.generate(**job.asked, progress=tell)
        out.parent.mkdir(parents=True, exist_ok=True)
        # it is that of another clip, until this one has its own
        provenance.beside(out).unlink(missing_ok=True)
        if out.suffix.lower() in SOUND_ONLY:
            made.clip.save(out)  # of the clip, the sound alone
        else:
            made.clip.save(
                out,
                copy_video_from=made.given_video,
                copy_sound_from=made.given_sound,
                lossless_sound=made.lossless_sound,
                metadata=provenance.embedded(noted),
            )
        provenance.write(out, noted)
        click.echo(f"{out}: {describe(out)}")
        self.draw(job)
        click.echo(
            f"took {duration(time.perf_counter() - began)} on {self.pipeline.device}, seed"
            f" {job.asked['seed']}"
        )

    def draw(self, job: Request) -> None:
        """The clip's frames above its sound, as a PNG beside it. Nothing where that isn't wanted,
        or is there.
        """
        from harmony_parts.media.clip import Clip

        clip, drawn = self.folder / job.name, self.beside(job)
        if not self.preview or (
            drawn.is_file() and drawn.stat().st_mtime_ns >= clip.stat().st_mtime_ns
        ):
            return
        click.echo(f"{self.sheet(job, Clip.read(clip))}: its frames and its sound")

    def beside(self, job: Request) -> Path:
        """Where the picture of a clip is: x.mp4 -> x.mp4.png."""
        return self.folder / f"{job.name}.png"

    def sheet(self, job: Request, clip: Clip, when: str = "") -> Path:
        """Draw it."""
        from harmony_parts.av import AV
        from harmony_parts.report.contact_sheet import Row, contact_sheet

        title = ", ".join(job.asked[name] for name in TEXTS if job.asked[name])
        heading = f"{Path(job.name).name}, seed {job.asked['seed']}{when}"
        self.beside(job).parent.mkdir(parents=True, exist_ok=True)
        return contact_sheet([Row(title, clip, AV((), ()))], self.beside(job), heading)

    def _possible(self, job: Request) -> None:
        """Nothing is made that can't be written, and no memory taken for a length that makes no
        sense. Raises UsageError.
        """
        from harmony_parts.generate.pipeline import LONGEST

        if Path(job.name).suffix.lower() in SOUND_ONLY and "audio" not in tuple(
            self.pipeline.codecs
        ):
            raise click.UsageError(
                "this model makes video alone: --out must end in .mp4 or .mkv, not"
                f" {Path(job.name).suffix}"
            )
        given = next((job.asked[name] for name in ("audio", "video") if job.asked[name]), None)
        seconds = job.asked["seconds"] or (_length(given) if given else 0)
        most = LONGEST * self.pipeline.format.seconds
        if seconds > most:
            what = (
                f"{seconds:g} s are asked for"
                if job.asked["seconds"]
                else f"{given} lasts {seconds:g} s"
            )
            raise click.UsageError(
                f"{what}, and this model was trained on {self.pipeline.format.seconds:g} s: more"
                f" than {LONGEST} times that ({most:g} s) can't become anything; ask for fewer"
                " --seconds"
            )


def make_all(work: Work, jobs: Sequence[Request]) -> None:
    """A batch: clips that were made from the same request are left alone, and one that fails
    doesn't stop the others.
    """
    from harmony_parts.generate.provenance import made

    there = [job for job in jobs if made(work.folder / job.name, work.note(job))]
    left = [job for job in jobs if job not in there]
    if left:
        work.pipeline  # noqa: B018 - a model that can't be loaded is told of once, not for each clip
    if there:
        click.echo(
            f"{len(there)} of {quantity(len(jobs), 'clip')} are there already, in {work.folder}"
        )
    for job in there:
        work.draw(job)
    began, failed = time.perf_counter(), 0
    for done, job in enumerate(left):
        if done:
            remaining = (time.perf_counter() - began) / done * (len(left) - done)
            click.echo(f"{done} of {len(left)} done, about {duration(remaining)} left")
        try:
            work.make(job)
        except KeyboardInterrupt:
            complain(
                f"stopped after {done - failed} of {quantity(len(left), 'clip')}; the same command"
                " goes on from there"
            )
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (HarmonyError, ValueError, click.UsageError) as error:
            failed += 1
            complain(f"{job.where}: {error}")
    if failed:
        raise RunError(
            f"{failed} of {quantity(len(left), 'clip')} couldn't be made; the same command tries"
            " them again"
        )
    click.echo(f"{quantity(len(jobs), 'clip')} in {work.folder}")


def _length(file: Path) -> float:
    """Seconds, by the file's header."""
    from harmony_parts.media.probe import probe

    return float(probe(file).seconds or 0)


def describe(file: Path) -> str:
    """What is in a file that was written: length, picture, sound."""
    from harmony_parts.media.probe import probe

    held = probe(file)
    video, audio = held.video, held.audio
    pieces = [f"{float(held.seconds):.2f} s"] if held.seconds else []
    pieces += (
        [f"{video.codec} {video.width} x {video.height} at {float(video.fps):.4g} fps"]
        if video
        else []
    )
    pieces += [f"{audio.codec} at {audio.sample_rate} Hz"] if audio else []
    return ", ".join(pieces)
