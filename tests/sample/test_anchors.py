"""Anchors in the sampler: their effect, and how often they are made."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import torch
from helpers.toy_guidance import (
    SYNC,
    Constant,
    Same,
    caption,
    codecs,
    gaussian,
    latents,
    make,
)
from torch import Tensor

from harmony_parts.av import AV, Condition
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.tasks.protocol import TASKS
from harmony_parts.testing.gaussian_denoiser import GaussianDenoiser, Recorded


def test_an_anchor_equal_to_the_stream_changes_nothing() -> None:
    """In a driven task it makes both passes equal, so any scale is the identity bit for bit."""
    given = latents(seed=6)
    for generated, other in (("video", "audio"), ("audio", "video")):
        sync = SyncCFG(7.5, 0.0, mute=Same("audio"), static=Same("video"))
        pair = [
            make(
                gaussian(), given.only((generated,)), given=given.only((other,)), guidance=guidance
            )
            for guidance in (sync, NoGuidance())
        ]
        assert torch.equal(pair[0][generated], pair[1][generated])


def test_a_scale_of_0_generates_for_the_anchor() -> None:
    """SyncCFG at 0 in an audio-driven task equals audio-driven generation for silence."""
    both = latents(seed=7)
    got = make(
        gaussian(),
        both.only(("video",)),
        given=both.only(("audio",)),
        guidance=attrs.evolve(SYNC, video=0),
    )
    want = make(gaussian(), both.only(("video",)), given=AV(audio=torch.zeros_like(both["audio"])))
    assert torch.equal(got["video"], want["video"])


def test_anchors_are_cast_to_the_precision_of_the_latents() -> None:
    @attrs.frozen
    class Narrow(Constant):
        def latents(self, scene: Any) -> Tensor:
            return super().latents(scene).float()

    model = Recorded(gaussian())
    make(model, latents(), guidance=attrs.evolve(SYNC, mute=Narrow("audio", 0.1)), steps=1)
    assert {call.av[s].dtype for call in model.calls for s in call.av} == {torch.float64}


def test_a_reference_image_is_encoded_once_per_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A static video of the reference image is encoded once, one of the estimate at every step."""
    video, audio = codecs()["video"], codecs()["audio"]
    encoded: list[int] = []
    encode = type(video).encode
    monkeypatch.setattr(
        type(video),
        "encode",
        lambda codec, frames: encoded.append(len(frames)) or encode(codec, frames),
    )
    shape = (2, *video.grid, video.channels)
    size = math.prod(shape) + 4 * audio.channels
    model = GaussianDenoiser(shape, (4, audio.channels), torch.zeros(size), torch.eye(size) + 0.5)
    noise = AV(torch.randn(1, *shape), torch.randn(1, 4, audio.channels))
    picture, mask = (
        torch.zeros(1, 1, *video.grid, video.channels),
        torch.ones(1, 1, dtype=torch.bool),
    )
    for conditions, times in (
        ({"image": Condition(picture, mask)}, 1),
        ({"image": Condition(picture, ~mask)}, 3),
        ({}, 3),
    ):
        encoded.clear()
        make(model, noise, conditions, codecs=AV(video, audio), guidance=SyncCFG(1, 2), steps=3)
        assert len(encoded) == times


def test_constant_anchors_are_made_once_per_run() -> None:
    made: list[str] = []

    @attrs.frozen
    class Counted(Constant):
        def latents(self, scene: Any) -> Tensor:
            made.append(self.stream)
            return torch.zeros_like(scene.latents[self.stream])

    def guidance(*drop: str) -> SyncCFG:
        return SyncCFG(
            3, 2, mute=Counted("audio"), static=Counted("video", from_estimate=True), drop=drop
        )

    make(gaussian(), latents(), caption(), guidance=Sum((guidance(), guidance("caption"))), steps=3)
    assert sorted(made) == ["audio", "video", "video", "video"]


def test_equal_anchors_share_a_memory() -> None:
    """Over the whole run; different anchors have different memories."""
    made: list[float] = []

    @attrs.frozen
    class Remembers(Constant):
        def latents(self, scene: Any) -> Tensor:
            if "once" not in scene.memory:
                made.append(self.value)
                scene.memory["once"] = torch.full_like(scene.latents[self.stream], self.value)
            return scene.memory["once"]

    model = Recorded(gaussian())
    terms = [
        SyncCFG(1, 2, static=Remembers("video", value, True), drop=drop)
        for value in (2.0, 3.0)
        for drop in ((), ("caption",))
    ]
    make(model, latents(), caption(), guidance=Sum(terms), steps=2)  # type: ignore[arg-type]
    assert sorted(made) == [2.0, 3.0]
    assert (
        sorted(float(call.av["video"].mean()) for call in model.calls if call.time("video") == 0)
        == [2.0] * 4 + [3.0] * 4
    )


def test_sync_cfg_with_the_built_in_anchors() -> None:
    """Silence and static video from the built-in codecs, in all three tasks."""
    both = codecs()
    random = torch.Generator().manual_seed(0)
    noise = AV(
        torch.randn(2, 2, *both["video"].grid, both["video"].channels, generator=random),
        torch.randn(2, 4, both["audio"].channels, generator=random),
    )
    shapes = noise.map(lambda x: tuple(x.shape[1:]))
    size = sum(math.prod(shapes[s]) for s in shapes)
    model = Recorded(
        GaussianDenoiser(shapes["video"], shapes["audio"], torch.zeros(size), torch.eye(size) + 0.5)
    )
    silence = both["audio"].encode(torch.zeros(1, 1, both["audio"].samples(4))).expand(2, -1, -1)
    for task in TASKS.values():
        model.calls.clear()
        given = noise.only(task)
        generated = {"video", "audio"} - set(task)
        result = make(
            model, noise.only(generated), given=given, codecs=both, guidance=SyncCFG(), steps=1
        )
        assert tuple(result) == ("video", "audio")
        mute = [call for call in model.calls if torch.equal(call.av["audio"], silence)]
        frames = [both["video"].decode(call.av["video"]).int() for call in model.calls]
        static = [each for each in frames if (each - each[:, :1]).abs().max() <= 1]
        assert (len(mute), len(static)) == ("video" in generated, "audio" in generated)
