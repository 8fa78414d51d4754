"""The clips of the held-out loss: encoded on the run's device, and there have to be some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers import tiny_training as tiny
from helpers.stand_in_device import DEVICE, is_available, stand_in
from torch import Tensor

from harmony_parts.assembly.build import build
from harmony_parts.assembly.recipe import Codecs, HeldOut, Recipe
from harmony_parts.codecs.conv_video import ConvVideo, ConvVideoCodec
from harmony_parts.data.clips import ClipFolder
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.errors import RunError
from harmony_parts.models.offload import move_weights
from harmony_parts.models.tensor_files import save_tensors
from harmony_parts.strategies.process import SingleProcess
from harmony_parts.train.held_out import HeldOutLoss
from harmony_parts.train.log import Log
from harmony_parts.train.state import TrainingState


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Its video codec has weights."""
    spec, file = ConvVideo(width=8), tmp_path / "codec.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_tensors(file, spec.network().state_dict())
    made = tiny.recipe(held_out=HeldOut(Soundstage(size=8, seed=77), clips=3, every=1))
    return attrs.evolve(
        made, codecs=Codecs(video=attrs.evolve(spec, weights=str(file)), audio=made.codecs.audio)
    )


@contextmanager
def moved(part: Any, device: torch.device, offload: str) -> Iterator[None]:
    """`weights_on_device` for the stand-in, whose weights torch can't exchange in place."""
    assert offload == "parts"
    move_weights(part, device)
    yield


@pytest.mark.skipif(not is_available(), reason="this torch has no device of Python")
def test_codecs_are_on_the_device_while_clips_are_encoded(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, they are on the host, as after the clips of training were prepared."""
    seen: set[torch.device] = set()
    own = ConvVideoCodec.encode

    def encode(codec: ConvVideoCodec, frames: Tensor) -> Tensor:
        seen.update(x.device for x in codec.network.parameters())
        return own(codec, frames)

    monkeypatch.setattr(ConvVideoCodec, "encode", encode)
    monkeypatch.setattr("harmony_parts.train.data.weights_on_device", moved)
    parts, log = build(recipe), Log(tmp_path, step=0, steps=1, progress=False)
    with stand_in():
        HeldOutLoss(recipe, parts, DEVICE, log)
    assert seen == {DEVICE}


def test_an_empty_data_set_is_an_error(recipe: Recipe, tmp_path: Path) -> None:
    class Empty(Soundstage):
        def build(self, **_: object) -> list[None]:  # type: ignore[override]
            return []

    assert recipe.train.held_out is not None
    empty = tiny.but(recipe, held_out=attrs.evolve(recipe.train.held_out, data=Empty()))
    log = Log(tmp_path, step=0, steps=1, progress=False)
    with pytest.raises(RunError, match=r"\$\.train\.held_out\.data: .* empty"):
        HeldOutLoss(empty, build(empty), torch.device("cpu"), log)


@pytest.mark.parametrize("folder", [None, "nowhere"])
def test_the_folder_of_held_out_clips_is_a_setting(folder: str | None, tmp_path: Path) -> None:
    """`--data`, which the error of the data set names, isn't read."""
    recipe = tiny.recipe(held_out=HeldOut(ClipFolder(), folder=folder))
    parts, log = build(recipe), Log(tmp_path, step=0, steps=1, progress=False)
    with log, pytest.raises(RunError, match=r"\$\.train\.held_out\.folder \((nowhere|not set)\)"):
        HeldOutLoss(recipe, parts, torch.device("cpu"), log)


@attrs.frozen
class OneOfSeveral(SingleProcess):
    """A process that hears what later ones said, which have run before it."""

    said: list[str] = attrs.field(factory=list)

    def gather(self, text: str) -> list[str]:
        self.said.append(text)
        return self.said[::-1]


@pytest.mark.parametrize("seq", [1, 2])
def test_processes_share_the_clips_and_agree_on_the_mean(seq: int, tmp_path: Path) -> None:
    """As a single one, up to rounding; `seq` processes share a clip and count once."""
    recipe = tiny.recipe(batch=2, held_out=HeldOut(Soundstage(size=8, seed=77), clips=4, every=1))
    parts, log, cpu = (
        build(recipe),
        Log(tmp_path, step=0, steps=1, progress=False),
        torch.device("cpu"),
    )
    with log:
        loss = HeldOutLoss(recipe, parts, cpu, log)
    alone = loss.measure(TrainingState(recipe, parts, SingleProcess(cpu)))
    said: list[str] = []
    for rank in reversed(range(2 * seq)):
        process = OneOfSeveral(cpu, rank=rank, ranks=2 * seq, seq=seq, said=said)
        found = loss.measure(TrainingState(recipe, parts, process))
    assert found == pytest.approx(alone)
