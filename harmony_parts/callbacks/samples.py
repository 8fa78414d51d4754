"""Clips of the model during training, with their measured sync."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from harmony_parts.callbacks.board import Board
from harmony_parts.callbacks.protocol import RunView
from harmony_parts.callbacks.tensorboard import TensorBoard
from harmony_parts.data.protocol import HasTexts
from harmony_parts.errors import RunError
from harmony_parts.metrics.compare import compare
from harmony_parts.metrics.protocol import streams_read
from harmony_parts.plugin import knob

SCORES = "scores.json"
TEXTS = {"caption": "prompt", "sound": "sound", "speech": "speech"}  # in a data set, in a request
Texts = Mapping[str, str]


@attrs.frozen
class Samples:
    """A few clips every `every` steps and after the last, from the averaged weights.

    Prompts and seeds are the same each time, so two steps differ by the weights alone. Clips are
    written to `NAME/step-0000500` in the run folder, with `scores.json`: the numbers of the
    recipe's metrics, beside chance, which is the same clips re-paired. If the callback
    `tensorboard` is on, it gets them too: pictures, sound, video and numbers. Prompts are
    `prompts`, or the texts of clips that aren't trained on: those of `train.held_out`, else the
    held-out cases of the recipe's data set, if it has them (Soundstage).
    """

    every: int = knob(
        500, help="steps between clips", unit="steps", validator=attrs.validators.ge(1)
    )
    clips: int = knob(
        4,
        help="number of held-out prompts; with two or more, chance is measured",
        unit="clips",
        validator=attrs.validators.ge(1),
    )
    prompts: tuple[str, ...] = knob(
        (), help="texts instead of held-out ones, of picture and sound alike", converter=tuple
    )
    seed: int = knob(0, help="seed of the first clip; the next ones follow")
    steps: int | None = knob(
        None,
        help="sampling steps; without it, those of the recipe",
        validator=attrs.validators.optional(attrs.validators.ge(1)),
    )
    name: str = knob("samples", help="folder in the run folder")

    def build(self, *, run: RunView) -> SampleWriter:
        """Raises RunError without prompts, if this process can't generate, or if TensorBoard is
        wanted and absent.
        """
        texts: Sequence[Texts] = [{"prompt": text, "sound": text} for text in self.prompts]
        texts = texts or _held_out(run.recipe, self.clips)
        wanted = [spec for spec in run.recipe.train.callbacks if isinstance(spec, TensorBoard)]
        board = Board(run.folder / wanted[0].name / self.name, run.step) if wanted else None
        with run.pipeline():  # raises now, not after hours
            return SampleWriter(self, run, texts, _metrics(run.recipe.metrics), board)


def _held_out(recipe: Any, clips: int) -> list[Texts]:
    """The texts of the first clips that aren't trained on. Raises RunError if none are known."""
    held, root = recipe.train.held_out, None
    if held is not None:
        spec, root = held.data, None if held.folder is None else Path(held.folder)
    elif hasattr(recipe.data, "held_out"):
        spec = attrs.evolve(recipe.data, held_out=True)
    else:
        raise RunError(
            "the callback `samples` needs prompts that aren't trained on: give it `prompts`, or set"
            " train.held_out"
        )
    data = spec.build(format=recipe.format, root=root)
    return [_texts(data, number) for number in range(min(clips, len(data)))]


def _texts(data: Any, number: int) -> Texts:
    if isinstance(data, HasTexts):
        found = dict(data.texts(number))
    else:
        prompt = data.example(number, torch.Generator().manual_seed(number)).prompt
        found = {name: getattr(prompt, name) for name in TEXTS}
    return {TEXTS[name]: text for name, text in found.items() if text}


def _metrics(specs: Sequence[Any]) -> dict[str, Any]:
    """Name -> metric: the name of its class, with a number from the second of a class on."""
    found: dict[str, Any] = {}
    for spec in specs:
        name = type(spec).__name__.lower()
        same = sum(each.partition("-")[0] == name for each in found)
        found[f"{name}-{same + 1}" if same else name] = spec.build()
    return found


@attrs.define(eq=False)
class SampleWriter:
    """Generates, writes and measures the clips of a run."""

    spec: Samples
    run: RunView
    texts: Sequence[Texts]
    metrics: Mapping[str, Any]
    board: Board | None

    def __attrs_post_init__(self) -> None:
        for folder in self._folder.glob("step-*"):
            if int(folder.name.removeprefix("step-")) > self.run.step:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        return self.run.folder / self.spec.name

    def on_step(self, step: int) -> None:
        """Write the clips of a step in which they are due. Raises RunError if the disk is full."""
        if step % self.spec.every and step != self.run.steps:
            return
        made = self._generate()
        try:
            self._write(step, made)
        except OSError as error:
            raise RunError(f"{self._folder}: can't be written: {error}") from error

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Write what is left for TensorBoard."""
        if self.board is not None:
            self.board.close()

    def _generate(self) -> list[Any]:
        made = []
        with self.run.pipeline() as pipeline, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a text that this model's encoders don't read
            for number, texts in enumerate(self.texts):
                seed = self.spec.seed + number
                clip = pipeline.generate(**texts, seed=seed, steps=self.spec.steps, progress=False)
                made.append(clip)
        return made

    def _write(self, step: int, made: Sequence[Any]) -> None:
        folder = self._folder / f"step-{step:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for number, clip in enumerate(made):
            file = folder / f"{number}.{'wav' if clip.frames is None else 'mp4'}"
            clip.save(file)
            files.append({"file": file.name, "seed": self.spec.seed + number, **self.texts[number]})
        scores = self._scores([clip.clip for clip in made])
        text = json.dumps({"step": step, "clips": files, "scores": scores}, indent=1)
        (folder / SCORES).write_text(text + "\n", encoding="utf-8")
        if self.board is not None:
            self.board.add(step, [clip.clip for clip in made], scores)

    def _scores(self, clips: Sequence[Any]) -> dict[str, dict[str, float]]:
        """Metric/number -> means as paired and re-paired, with their errors.

        Only metrics whose streams the clips have.
        """
        has = {"video": clips[0].frames is not None, "audio": clips[0].waveform is not None}
        return {
            f"{name}/{number}": found.json()
            for name, metric in self.metrics.items()
            if all(has[stream] for stream in streams_read(metric))
            for number, found in compare(metric, clips).items()
        }
