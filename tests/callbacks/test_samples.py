"""Clips of the model during training."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from helpers import tiny_training as tiny

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.callbacks.log import LogFile
from harmony_parts.callbacks.protocol import RunView
from harmony_parts.callbacks.samples import SCORES, Samples
from harmony_parts.callbacks.tensorboard import TensorBoard
from harmony_parts.errors import RunError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.correlation import Correlation
from harmony_parts.metrics.events import Events
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.testing.contracts import check_callback
from harmony_parts.train.loop import train

SAMPLES = Samples(every=2, clips=2, steps=2)


def recipe(*callbacks: Any, **settings: Any) -> Recipe:
    """Three steps of the small model, with two metrics."""
    made = tiny.recipe(steps=3, callbacks=(LogFile(), *callbacks), **settings)
    return attrs.evolve(made, metrics=(Events(), Correlation()))


def losses(run: Path) -> list[Any]:
    lines = map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [{**line, "seconds_per_step": 0} for line in lines]


def test_it_meets_its_contract() -> None:
    made = recipe(SAMPLES)
    check_callback(SAMPLES, recipe=made, pipeline=Pipeline.assemble(made))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run with clips and without."""
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("runs")
    for name, callbacks in (("with", (TensorBoard(), SAMPLES)), ("without", ())):
        train(recipe(*callbacks), out=folder / name, progress=False, device="cpu")
    return folder / "with", folder / "without"


def test_training_is_bit_equal_with_clips(runs: tuple[Path, Path]) -> None:
    with_clips, without = runs
    assert losses(with_clips) == losses(without)
    one, other = (load_tensors(run / "model" / "model.safetensors") for run in runs)
    assert one.keys() == other.keys()
    assert all(bool((one[name] == other[name]).all()) for name in one)


def test_clips_come_when_due_with_measured_sync(runs: tuple[Path, Path]) -> None:
    """At the second step and the last, from held-out texts."""
    steps = sorted((runs[0] / "samples").iterdir())
    assert [step.name for step in steps] == ["step-0000002", "step-0000003"]
    for step in steps:
        written = json.loads((step / SCORES).read_text(encoding="utf-8"))
        held_out = attrs.evolve(recipe().data, held_out=True).build(format=recipe().format)
        assert [each["prompt"] for each in written["clips"]] == [
            held_out.texts(number)["caption"] for number in range(2)
        ]
        assert [each["seed"] for each in written["clips"]] == [0, 1]
        clips = [Clip.read(step / each["file"]) for each in written["clips"]]
        assert all(clip.frames is not None and len(clip.frames) == 8 for clip in clips)
        assert all(clip.waveform is not None for clip in clips)
        assert {"paired", "repaired"} <= set(written["scores"]["correlation/correlation"])


def test_tensorboard_gets_pictures_sound_video_and_sync(runs: tuple[Path, Path]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(runs[0] / "tensorboard" / "samples"))
    events.Reload()
    tags = events.Tags()
    assert sorted(tags["images"]) == [
        f"clip {k}/{what}" for k in range(2) for what in ("pictures", "video")
    ]
    assert tags["audio"] == ["clip 0/sound", "clip 1/sound"]
    assert {"correlation/correlation", "correlation/correlation by chance"} <= set(tags["scalars"])
    (first, last) = events.Images("clip 0/video")
    assert (first.step, last.step) == (2, 3)
    assert first.encoded_image_string.startswith(b"GIF8")
    pictures = events.Images("clip 0/pictures")[0]
    assert (pictures.width, pictures.height) == (6 * 16, 16)


def test_clips_of_later_steps_are_dropped_on_resuming(tmp_path: Path) -> None:
    for step in (2, 4):
        (tmp_path / "samples" / f"step-{step:07d}").mkdir(parents=True)
    SAMPLES.build(run=view(tmp_path, recipe(), step=2))
    assert [folder.name for folder in (tmp_path / "samples").iterdir()] == ["step-0000002"]


def test_prompts_may_be_given_and_must_be_known(tmp_path: Path) -> None:
    made = attrs.evolve(recipe(), data=object())
    writer = Samples(prompts=("rain",)).build(run=view(tmp_path, made))
    assert writer.texts == [{"prompt": "rain", "sound": "rain"}]
    with pytest.raises(RunError, match=r"give it `prompts`, or set train\.held_out"):
        Samples().build(run=view(tmp_path, made))


def test_a_process_that_cannot_generate_says_so_at_once(tmp_path: Path) -> None:
    @contextlib.contextmanager
    def divided() -> Iterator[None]:
        raise RunError("the weights are divided")
        yield

    run = attrs.evolve(view(tmp_path, recipe()), pipeline=divided)
    with pytest.raises(RunError, match="divided"):
        SAMPLES.build(run=run)


def view(folder: Path, recipe: Any, step: int = 0) -> RunView:
    return RunView(folder, step, 9, recipe, print, contextlib.nullcontext)
