"""The contract of denoisers holds for those that ship."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import attrs
import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from harmony_parts.av import AV, Condition
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.denoisers.ports import PORTS, accepted
from harmony_parts.denoisers.protocol import Port
from harmony_parts.denoisers.single_branch import AudioOnly, VideoOnly
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.interaction.none import NoInteraction
from harmony_parts.style.none import NoStyle
from harmony_parts.style.tokens import StyleTokens
from harmony_parts.testing.contracts.denoisers import check_denoiser
from harmony_parts.testing.gaussian_denoiser import GaussianDenoiser
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

VIDEO, MMDIT, CROSS = VideoTransformer(12, 2, 16, 4), MMDiT(12, 2, 16), CrossAudio(12, 2, 16)
CODECS: AV[Any] = AV(StubCodec(4, (4, 8), 6.0), StubCodec(3, (), 14.0))
ALL: Any = {"all": StubEncoder(caption=5, image=4, sound=6, speech=4, voice=3)}
WORDS = [  # nothing reads the words after the last layer
    f"blocks.1.audio.words.{name}.*"
    for name in ("attention.q", "attention.norm_q", "attention.o", "ffn")
]
EVERY = ["blocks.*.interaction.style.*"]  # without a voice, there is no reference
SEVERAL: Any = {"all": StubEncoder(caption=5, pose=4, mood=3, sound=6, image=4)}
PORTED = {"pose": Port("video", "context"), "mood": Port("audio", "add")}

KEEP: dict[str, tuple[DualBranch, dict[str, Any]]] = {
    "gldi, mmdit": (DualBranch(2, VIDEO, MMDIT, GLDI()), {"encoders": ALL}),
    "gldi, mmdit, words apart": (
        DualBranch(2, VIDEO, attrs.evolve(MMDIT, weights="separate"), GLDI()),
        {"encoders": ALL, "idle": WORDS},
    ),
    "gldi with style tokens": (
        DualBranch(1, VIDEO, MMDIT, GLDI(style=StyleTokens())),
        {"encoders": ALL},
    ),
    "gldi, mmdit, one way": (
        DualBranch(2, VIDEO, MMDIT, GLDI(), "one_way"),
        {"encoders": ALL},
    ),
    "gldi, mmdit, detached": (
        DualBranch(2, VIDEO, MMDIT, GLDI(), "one_way_detached"),
        {"encoders": ALL},
    ),
    "gldi, cross": (DualBranch(1, VIDEO, CROSS, GLDI(audio_window=0.0)), {"idle": EVERY}),
    "gldi without style": (
        DualBranch(1, VIDEO, MMDIT, GLDI(style=NoStyle(), width=8)),
        {"encoders": ALL},
    ),
    "global, mmdit": (DualBranch(1, VIDEO, MMDIT, Global()), {"encoders": ALL}),
    "global, cross, one way": (DualBranch(1, VIDEO, CROSS, Global(), "one_way"), {}),
    "none, mmdit, one way": (
        DualBranch(1, VIDEO, MMDIT, NoInteraction(), "one_way"),
        {"encoders": ALL},
    ),
    "none, cross": (DualBranch(1, VIDEO, CROSS, NoInteraction()), {}),
    "residual stream in the weights' type": (
        DualBranch(
            1,
            attrs.evolve(VIDEO, precision="weights"),
            attrs.evolve(MMDIT, precision="weights"),
            Global(),
        ),
        {"encoders": ALL},
    ),
    "recomputed": (DualBranch(1, VIDEO, CROSS, Global(), recompute="all"), {}),
    "ports of third parties": (
        DualBranch(1, VIDEO, CROSS, Global(), ports=PORTED),
        {"encoders": SEVERAL},
    ),
}


@pytest.mark.parametrize("name", KEEP)
def test_dual_branch_keeps_the_contract(name: str) -> None:
    spec, settings = KEEP[name]
    check_denoiser(spec, **settings)


def test_denoisers_of_one_stream_keep_the_contract() -> None:
    check_denoiser(VideoOnly(1, VIDEO), codecs=AV(video=CODECS.video))
    check_denoiser(AudioOnly(1, CROSS), codecs=AV(audio=CODECS.audio))
    encoders: Any = {"all": StubEncoder(sound=6, voice=3)}
    denoiser: Any = check_denoiser(
        AudioOnly(1, MMDIT), codecs=AV(audio=CODECS.audio), encoders=encoders
    )
    assert denoiser.accepts == {name: PORTS[name] for name in ("sound", "voice")}


@attrs.frozen
class Gaussian:
    """The Gaussian denoiser for any number of latents, with a required caption of any width."""

    def build(self, *, codecs: AV[Any], encoders: Mapping[str, Any]) -> nn.Module:
        """A denoiser without weights."""
        accepted(encoders, {"caption": GaussianDenoiser.accepts["caption"]}, codecs)
        return AnyLength()


class AnyLength(nn.Module):
    """A Gaussian denoiser of the shape of the latents that it is called with."""

    accepts, hints, blocks = GaussianDenoiser.accepts, frozenset[str](), ()

    def forward(self, av: AV[Any], times: AV[Any], conditions: Any, **settings: Any) -> AV[Any]:
        """The velocity of a Gaussian in which all elements of both streams are correlated."""
        shapes = AV(*(None if x is None else tuple(x.shape[1:]) for x in (av.video, av.audio)))
        video, audio = shapes.video or (), shapes.audio or ()
        # an absent stream has one element
        size = sum(prod(shapes[s]) for s in shapes) + (2 - len(tuple(shapes)))
        caption = conditions.get("caption")
        if caption is None:
            raise PartContractError("the caption is missing")
        words = Condition(pad(caption.tokens, (0, size - caption.tokens.shape[-1])), caption.mask)
        inner = GaussianDenoiser(video, audio, torch.zeros(size), 0.5 * torch.eye(size) + 0.5)
        return inner(av, times, {"caption": words}, **settings)


def test_the_gaussian_denoiser_keeps_the_contract() -> None:
    check_denoiser(
        Gaussian(),
        codecs=AV(StubCodec(2, (1, 2), 6.0), StubCodec(1, (), 9.0)),
        encoders={"x": StubEncoder(caption=4)},
        latents=AV(2, 3),
    )


def test_idle_patterns_must_fit_weights_without_a_gradient() -> None:
    spec = DualBranch(1, VIDEO, MMDIT, Global())
    check_denoiser(spec, idle=["branches.audio.reference_group"])  # there is no voice
    with pytest.raises(
        PartContractError, match=r"without a gradient that fit the `idle` pattern 'branches.video"
    ):
        check_denoiser(spec, idle=["branches.audio.reference_group", "branches.video.*"])


def test_what_cannot_be_built_raises_the_error_of_assembly() -> None:
    with pytest.raises(AssemblyError, match="voice"):
        check_denoiser(KEEP["none, cross"][0], encoders=ALL)
