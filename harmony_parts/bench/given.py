"""The files of Soundstage's held-out clips: to drive a model with, and to compare it with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.bench.cases import Case, held_out
from harmony_parts.data.protocol import Example
from harmony_parts.errors import RequestError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip
from harmony_parts.report.progress import progress

JOINT = "joint"
GIVEN = {"audio-driven": "audio", "video-driven": "video"}  # task -> the stream that is given
TASKS = (JOINT, *GIVEN)


def of_tasks(
    cases: Sequence[Case], tasks: Sequence[str], voice: bool, folder: Path, recipe: Recipe | None
) -> list[Case]:
    """The cases of each task, of a set of its own, such as "ambient-audio-driven".

    In driven tasks a stream of the true clip is given. With `voice`, spoken cases get the reference
    audio of their first speaker. Their files are written to `folder`, those that aren't there yet.
    Raises RequestError for cases that aren't Soundstage's.
    """
    if (voice or set(tasks) - {JOINT}) and not all(case.truth for case in cases):
        raise RequestError(
            "only Soundstage's cases come with true clips; in a file of cases, give `audio`,"
            " `video` or `voice`"
        )
    found = []
    for task in tasks:
        for case in cases:
            name = case.set if task == JOINT else f"{case.set}-{task}"
            request = case.request
            if task in GIVEN:
                given: dict[str, Any] = {GIVEN[task]: true_clip(case, folder, recipe)}
                request = attrs.evolve(request, **given)
            if voice and request.speech:
                request = attrs.evolve(request, voice=reference_audio(case, folder, recipe))
            found.append(attrs.evolve(case, set=name, request=request))
    return found


def _example(case: Case, recipe: Recipe | None) -> Example:
    assert recipe is not None
    return held_out(case.truth, recipe.format, recipe).example(case.index)


def true_clip(case: Case, folder: Path, recipe: Recipe | None) -> Path:
    """The file of a case's true clip: H.264 at its usual quality, and sound without loss."""
    file = folder / case.truth / f"{case.name}.mkv"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        _example(case, recipe).clip.save(file)
    return file


def reference_audio(case: Case, folder: Path, recipe: Recipe | None) -> Path:
    """The file of a case's reference audio."""
    file = folder / case.truth / f"{case.name}-voice.wav"
    if not file.is_file():
        assert recipe is not None
        file.parent.mkdir(parents=True, exist_ok=True)
        voice = _example(case, recipe).prompt.voice
        Clip(waveform=voice, sample_rate=recipe.format.sample_rate).save(file)
    return file


def through_codecs(
    pipeline: Pipeline, cases: Sequence[Case], folder: Path, given: Path
) -> list[Path]:
    """The true clips of the cases through the model's codecs, as `folder`/SET/NAME.mp4: no clip of
    the model can be better. Those that aren't there yet are made from the files in `given`.
    """
    files = []
    with progress("true clips through the codecs") as step:
        for number, case in enumerate(cases, 1):
            file = folder / case.set / f"{case.name}.mp4"
            if not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                source = true_clip(case, given, pipeline.recipe)
                latents = pipeline.encode([source])
                pipeline.decode(latents, pipeline.format.frames)[0].save(file)
            files.append(file)
            step(number, len(cases))
    return files
