"""Jobs: clips to generate with one model and to save with their provenance."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from harmony_parts.errors import HarmonyError, MediaError, RequestError, RunError, notes
from harmony_parts.generate.request import Request
from harmony_parts.generate.rescue import check_room, keep
from harmony_parts.report.progress import any_encoding, print_stderr, progress
from harmony_parts.report.text import duration, quantity

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.generate.pipeline import Pipeline
    from harmony_parts.media.clip import Clip
    from harmony_parts.sample.sampler import Step


@attrs.frozen(eq=False)
class Job:
    """A clip to generate, and the name of its file.

    `source` is the line of a batch file that it comes from, `columns` the fields set in that line,
    `labels` what else the line says.
    """

    name: str
    request: Request
    source: str = ""
    columns: frozenset[str] = frozenset()
    labels: Mapping[str, str] = attrs.field(factory=dict)

    def with_request(self, **fields: Any) -> Job:
        """The job with some fields of its request changed."""
        return attrs.evolve(self, request=attrs.evolve(self.request, **fields))

    def check_file(self, folder: Path, *, preview: bool = False) -> None:
        """`Request.check_file` for the job's file, with the batch line in the error."""
        try:
            self.request.check_file(folder / self.name, preview=preview)
        except (RequestError, MediaError) as error:
            raise type(error)(f"{self.source}: {error}") from error


class JobRunner:
    """Runs jobs with one model, which is loaded when it is first needed.

    Clips go to `folder`, with a contact sheet if `preview` is set, drawn anew every `preview_every`
    sampling steps. `say` prints a line about a finished job.
    """

    def __init__(
        self,
        folder: Path,
        model: Path,
        recipe: Recipe,
        load: Callable[[], Pipeline],
        *,
        dtype: str | None = None,
        lora: Path | None = None,
        tf32: bool = False,
        preview: bool = False,
        preview_every: int | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        from harmony_parts.generate.provenance import file_hash
        from harmony_parts.models.folder import find_model, weight_files
        from harmony_parts.models.lora import adapters_file
        from harmony_parts.models.saved_tensors import tensor_files

        self.folder, self.recipe, self._load = folder, recipe, load
        self._others: dict[str, str] = {}
        self.say = any_encoding(say)
        self.preview, self.preview_every = preview or preview_every is not None, preview_every
        files = [] if model.suffix == ".toml" else weight_files(find_model(model))
        files += [] if lora is None else [adapters_file(lora)]
        precision = [*([dtype] if dtype else []), *(["tf32"] if tf32 else [])]
        hashes = [file_hash(file) for place in files for file in tensor_files(place)]
        self.weights = "-".join([*hashes, *precision])

    @cached_property
    def pipeline(self) -> Pipeline:
        """The loaded model. ffmpeg is checked first, or it would fail after hours of sampling."""
        from harmony_parts.media.ffmpeg import check_encoders

        check_encoders()
        return self._load()

    def provenance(self, job: Job) -> dict[str, Any]:
        """Everything that determines the job's clip."""
        from harmony_parts.generate.provenance import provenance_of
        from harmony_parts.guidance.demands import demands

        guidance = job.request.guidance or self.recipe.sample.guidance
        others = [self._weights_of(name) for name in demands(guidance).models]
        return provenance_of(self.recipe, "-".join([self.weights, *others]), job.request)

    def _weights_of(self, name: str) -> str:
        """The hash of the weights of another model, which a guidance names."""
        from harmony_parts.generate.provenance import file_hash
        from harmony_parts.models.folder import find_model, weight_files
        from harmony_parts.models.hub import locate_model
        from harmony_parts.models.saved_tensors import tensor_files

        if name not in self._others:
            files = weight_files(find_model(locate_model(name)))
            hashes = [file_hash(file) for place in files for file in tensor_files(place)]
            self._others[name] = "-".join(hashes)
        return self._others[name]

    def is_done(self, job: Job) -> bool:
        """Whether the job's clip exists, generated from the same request by the same model."""
        from harmony_parts.generate.provenance import is_up_to_date

        return is_up_to_date(self.folder / job.name, self.provenance(job))

    def run(self, job: Job) -> None:
        """Generate the clip and save it, with its provenance and contact sheet.

        Raises RequestError or MediaError if it can't be generated or saved.
        """
        from harmony_parts.generate import provenance

        out, began = self.folder / job.name, time.perf_counter()
        job.request.check_file(out, streams=tuple(self.pipeline.codecs))
        origin = self.provenance(job)
        job.request.check_model(tuple(self.pipeline.codecs), self.pipeline.format)
        check_room(out, self.pipeline.format, job.request)
        with progress("sampling") as bar:
            generated = self.pipeline.run(job.request, self._watch(job, bar))
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            # until the new clip has its own sidecar, an old one would describe the wrong clip
            provenance.sidecar(out).unlink(missing_ok=True)
            generated.save(out, metadata=provenance.container_metadata(origin))
            provenance.write_sidecar(out, origin)
        except (MediaError, OSError) as error:
            raise MediaError(f"{error}{keep(generated, out.name)}") from error
        self.say(f"{out}: {describe(out)}")
        self.draw(job)
        self.say(
            f"took {duration(time.perf_counter() - began)} on {self.pipeline.device}, seed"
            f" {job.request.seed}"
        )

    def _watch(self, job: Job, bar: Callable[[int, int], None]) -> Callable[[Step], None]:
        """A callback for each step: moves the bar, and draws the estimate every few steps."""

        def watch(step: Step) -> None:
            bar(step.done, step.steps)
            every = self.preview_every
            if every and step.done % every == 0 and step.done < step.steps:
                clip = self.pipeline.decode(step.estimate)[0]
                self._sheet(job, clip, f", after step {step.done} of {step.steps}")

        return watch

    def draw(self, job: Job) -> None:
        """Draw the contact sheet of a finished clip, if previews are on and it isn't up to date."""
        from harmony_parts.media.clip import Clip

        clip, sheet = self.folder / job.name, self._sheet_file(job)
        if not self.preview or (
            sheet.is_file() and sheet.stat().st_mtime_ns >= clip.stat().st_mtime_ns
        ):
            return
        self.say(f"{self._sheet(job, Clip.read(clip))}: its frames and its sound")

    def _sheet_file(self, job: Job) -> Path:
        return self.folder / f"{job.name}.png"

    def _sheet(self, job: Job, clip: Clip, when: str = "") -> Path:
        """Write the contact sheet of a clip, finished or not."""
        from harmony_parts.av import AV
        from harmony_parts.report.contact_sheet import Row, contact_sheet

        path = self._sheet_file(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        heading = f"{Path(job.name).name}, seed {job.request.seed}{when}"
        return contact_sheet([Row(job.request.title(), clip, AV((), ()))], path, heading)


def run_all(runner: JobRunner, jobs: Sequence[Job]) -> None:
    """Run a batch: finished clips are skipped, and a job that fails doesn't stop the others.

    Raises RunError if jobs failed, and KeyboardInterrupt with a message if it is interrupted.
    """
    done = [job for job in jobs if runner.is_done(job)]
    left = [job for job in jobs if job not in done]
    if left:
        runner.pipeline  # noqa: B018 - a model that can't be loaded fails once, not for each clip
    if done:
        runner.say(f"{len(done)} of {quantity(len(jobs), 'clip')} already exist in {runner.folder}")
    for job in done:
        runner.draw(job)
    if failed := _run_each(runner, left):
        raise RunError(
            f"{failed} of {quantity(len(left), 'clip')} couldn't be generated; the same command"
            " tries them again"
        )
    runner.say(f"{quantity(len(jobs), 'clip')} in {runner.folder}")


def _run_each(runner: JobRunner, jobs: Sequence[Job]) -> int:
    """Run the jobs one after the other; the number of those that failed."""
    began, failed = time.perf_counter(), 0
    for done, job in enumerate(jobs):
        if done:
            remaining = (time.perf_counter() - began) / done * (len(jobs) - done)
            runner.say(f"{done} of {len(jobs)} done, about {duration(remaining)} left")
        try:
            runner.run(job)
        except KeyboardInterrupt as stop:
            stop.args = (
                f"stopped after {done - failed} of {quantity(len(jobs), 'clip')}; the same command"
                " continues from there",
            )
            raise
        except (HarmonyError, ValueError) as error:
            failed += 1
            print_stderr(f"{job.source}: {error}", *notes(error))
    return failed


def describe(file: Path) -> str:
    """The length, picture and sound of a media file, in words."""
    from harmony_parts.media.probe import probe

    info = probe(file)
    video, audio = info.video, info.audio
    pieces = [f"{float(info.seconds):.2f} s"] if info.seconds else []
    if video:
        size = f"{video.width} x {video.height} at {float(video.fps):.4g} fps"
        pieces.append(f"{video.codec} {size}")
    if audio:
        pieces.append(f"{audio.codec} at {audio.sample_rate} Hz")
    return ", ".join(pieces)
