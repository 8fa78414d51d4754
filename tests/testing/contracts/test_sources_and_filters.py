"""The contract checks of sources and filters name what a broken one must do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from helpers import tiny_training as tiny
from helpers.prepared import prepare

from harmony_parts.av import AV
from harmony_parts.errors import PartContractError
from harmony_parts.sources.shards import ShardReader, Shards
from harmony_parts.testing.contracts.filters import check_filter
from harmony_parts.testing.contracts.sources import check_source


@attrs.frozen
class Keeps:
    """A filter that keeps its contract, until a method is replaced."""

    reads = ("audio",)

    def build(self, *, device: object = "cpu") -> Keeps:
        return self

    def analyse(self, example: Any) -> AV[float]:
        sound = example.clip.waveform
        return AV() if sound is None else AV(audio=float(sound.abs().max()))

    def fault(self, video: Any, audio: Any) -> str | None:
        return "is silent" if not audio else None


def reads_the_picture(self: Keeps, example: Any) -> AV[float]:
    clip = example.clip
    return AV() if clip.waveform is None else AV(audio=float(clip.frames is not None))


def silences(self: Keeps, example: Any) -> AV[float]:
    if example.clip.waveform is not None:
        example.clip.waveform.zero_()
    return AV(audio=1.0)


@pytest.mark.parametrize(
    ("member", "broken", "must"),
    [
        ("analyse", reads_the_picture, "analyse the audio without the other stream"),
        ("analyse", silences, "leave the clip as it is"),
        ("fault", lambda self, video, audio: "two\nlines", "give a reason in one line"),
        ("reads", ("sound",), "read 'video' or 'audio'"),
        ("analyse", lambda self, example: 1.0, "return an AV from `analyse`"),
    ],
)
def test_filters(member: str, broken: Any, must: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_filter(Keeps())
    monkeypatch.setattr(Keeps, member, broken)
    with pytest.raises(PartContractError, match=must):
        check_filter(Keeps())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "clips"
    prepare(tiny.recipe(), out, clips=3)
    return out


READ, GROUPS = ShardReader.read, ShardReader.groups.func


def other_shapes(self: ShardReader) -> np.ndarray:
    return np.array([0, 0, 1])


def fewer_clips(self: ShardReader) -> Any:
    return [attrs.evolve(group, clips=group.clips[:2]) for group in GROUPS(self)]


def always_the_first(self: ShardReader, clip: int, round: int, streams: Any) -> Any:
    return READ(self, 0, round, ("video", "audio"))


@pytest.mark.parametrize(
    ("member", "broken", "must"),
    [
        ("shape_of", property(other_shapes), "have an index into `shapes`"),
        ("groups", property(fewer_clips), "have each clip in one group"),
        ("identity", property(lambda self: str(id(self))), "have the same `identity`"),
        ("read", always_the_first, "give only video if only that is asked for"),
    ],
)
def test_sources(
    member: str, broken: Any, must: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_source(Shards(), root=root)
    monkeypatch.setattr(ShardReader, member, broken)
    with pytest.raises(PartContractError, match=must):
        check_source(Shards(), root=root)
