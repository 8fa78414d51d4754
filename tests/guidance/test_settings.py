"""Settings of guidances: defaults, conversion, types and validation."""

from __future__ import annotations

import typing

import pytest

from harmony_parts.anchors.mute import MuteAudio
from harmony_parts.anchors.protocol import Anchor
from harmony_parts.anchors.static import StaticVideo
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.schedule import Schedule
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window


def test_defaults_are_those_of_their_sources() -> None:
    """The defaults of Ovi, LTX-2 and Lin et al.; lists and integers are converted."""
    words = ("caption", "sound", "speech")
    for default, written in (
        (CFG(), CFG(4.0, 3.0, drop=words)),
        (SyncCFG(), SyncCFG(3.0, 2.0, drop=())),
        (Modality(), Modality(3.0, 3.0)),
        (SkipLayer(), SkipLayer(11, 4.0, 3.0, words)),
        (Rescale(), Rescale(CFG(), 0.7)),
        (Window(), Window(CFG(), 0.22, 0.84)),
        (Schedule(), Schedule(CFG(), (0.0, 2.0))),
        (CFG(2.0, 1.0, ("sound",)), CFG(2, 1, ["sound"])),  # type: ignore[arg-type]
        (SyncCFG(drop=("sound",)), SyncCFG(drop=["sound"])),  # type: ignore[arg-type]
        (SkipLayer(drop=()), SkipLayer(drop=[])),  # type: ignore[arg-type]
        (Schedule(CFG(), (1.0, 0.0)), Schedule(CFG(), [1, 0])),  # type: ignore[arg-type]
        (Sum((CFG(),)), Sum([CFG()])),  # type: ignore[arg-type]
    ):
        assert default == written
        assert repr(default) == repr(written)


def test_anchors_of_sync_cfg_are_typed_and_checked() -> None:
    assert (SyncCFG().video, SyncCFG().audio) == (3.0, 2.0)
    assert SyncCFG() == SyncCFG(mute=MuteAudio(), static=StaticVideo())
    assert SyncCFG(3, 2) == SyncCFG()
    assert hash(SyncCFG(3, 2)) == hash(SyncCFG())
    with pytest.raises(ValueError, match="mute must be an anchor for the audio stream"):
        SyncCFG(mute=StaticVideo())
    with pytest.raises(ValueError, match="static must be an anchor for the video stream"):
        SyncCFG(static=MuteAudio())
    hints = typing.get_type_hints(SyncCFG)
    assert (hints["mute"], hints["static"]) == (Anchor, Anchor)
    assert typing.get_type_hints(Sum)["terms"] == tuple[Guidance, ...]
