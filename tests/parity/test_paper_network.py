"""The denoiser with GLDI, MM-DiT and video transformer equals the paper's network, token by token.

The reference is `helpers.paper_network`: float64 loops that share nothing with the package but the
weights. Angles and sinusoids of the package are float32, which is all that separates the two.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
import pytest
import torch
from helpers.paper_inputs import Sample, Shape
from helpers.paper_network import PaperNetwork
from helpers.small_denoiser import nonzero
from torch import Tensor

from harmony_parts.av import AV, Condition, Times
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.interaction.none import NoInteraction
from harmony_parts.style.alignment import StyleAlignment
from harmony_parts.style.none import NoStyle
from harmony_parts.style.tokens import StyleTokens
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

BOUND = 1e-7
"""Velocities are about 1. A sinusoid in float32 is wrong by at most 3e-8, an angle below 8 by
2.4e-7, and norms and averages over tokens make less of both.
"""
VIDEO, AUDIO = 4, 7  # latents
WIDTHS = {"caption": 4, "speech": 3, "sound": 4, "image": 3, "voice": 5}


@attrs.frozen
class FirstIsShort(StubCodec):
    """Its first latent lasts a quarter of the others, as in a causal video codec."""

    def clock(self, latents: int) -> Tensor:
        edges = (torch.arange(latents + 1, dtype=torch.float64) - 0.75).clamp(min=0) / self.rate
        return torch.stack((edges[:-1], edges[1:]), dim=1)


CODECS = AV(FirstIsShort(3, (4, 4), 4.0), StubCodec(5, (), 8.0))

STYLES = {StyleAlignment: "alignment", StyleTokens: "tokens", NoStyle: None}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "gldi": (GLDI(), {}),
    "gldi in seconds": (GLDI(rope_map="seconds"), {}),
    "gldi by a constant": (GLDI(rope_map="constant", constant=0.43), {}),
    "gldi without alignment": (GLDI(rope_map="index"), {}),
    "gldi without rotation": (GLDI(rope_map="none"), {}),
    "gldi, narrow windows": (GLDI(audio_window=0.0, video_window=0.0), {}),
    "gldi, wide audio window": (GLDI(audio_window=0.3, video_window=0.03), {}),
    "gldi, wide video window": (GLDI(audio_window=0.03, video_window=0.3), {}),
    "gldi, windows over all": (GLDI(audio_window=9.0, video_window=9.0), {}),
    "gldi of another width": (GLDI(width=8), {}),
    "gldi without style": (GLDI(style=NoStyle()), {}),
    "gldi, style tokens": (GLDI(style=StyleTokens(tokens=3, head_width=5)), {}),
    "gldi, one way": (GLDI(), {"driven_interaction": "one_way"}),
    "gldi, words with weights of their own": (
        GLDI(),
        {"audio": MMDiT(width=16, heads=2, feed=12, weights="separate")},
    ),
    "gldi, padding attended to": (
        GLDI(),
        {"audio": MMDiT(width=16, heads=2, feed=12, padding="attended")},
    ),
    "global": (Global(), {}),
    "global in seconds": (Global(rope_map="seconds"), {}),
    "global by a constant": (Global(rope_map="constant", constant=0.43), {}),
    "none": (NoInteraction(), {}),
}


def built(interaction: Any, settings: dict[str, Any]) -> BranchDenoiser:
    """Two layers, patches of 2 x 2, every weight drawn, in float64."""
    spec = DualBranch(
        layers=2,
        video=VideoTransformer(width=24, heads=2, feed=20, patch=2),
        interaction=interaction,
        **{"audio": MMDiT(width=16, heads=2, feed=12), **settings},
    )
    torch.manual_seed(0)
    denoiser = spec.build(codecs=CODECS, encoders={"all": StubEncoder(**WIDTHS)})
    return nonzero(denoiser, 0.3).double().eval()


def reference(denoiser: BranchDenoiser, interaction: Any, settings: dict[str, Any]) -> PaperNetwork:
    """The loops with the same weights and settings."""
    gldi = interaction if isinstance(interaction, GLDI) else GLDI()
    shape = Shape(
        layers=2,
        video_heads=2,
        audio_heads=2,
        patch=2,
        interaction={GLDI: "gldi", Global: "global"}.get(type(interaction), "none"),
        rope_map=getattr(interaction, "rope_map", "ratio"),
        constant=getattr(interaction, "constant", 1.0),
        audio_window=gldi.audio_window,
        video_window=gldi.video_window,
        style=STYLES[type(gldi.style)] if isinstance(interaction, GLDI) else None,
        one_way="driven_interaction" in settings,
    )
    weights = {name: tensor.numpy() for name, tensor in denoiser.state_dict().items()}
    edges = [0, *(0.25 + i for i in range(VIDEO))]
    clocks = [
        [(start / 4, end / 4) for start, end in pairwise(edges)],
        [(j / 8, (j + 1) / 8) for j in range(AUDIO)],
    ]
    return PaperNetwork(weights, shape, *clocks)


@attrs.frozen(eq=False)
class Inputs:
    """A batch of four: joint, with a known picture, clean audio, and clean video without a voice.

    Voices, captions and words are of different lengths; the second sample's last audio latent is at
    a time of its own, which is that of its words.
    """

    latents: AV[Tensor]
    times: AV[Times]
    conditions: dict[str, Condition]

    def sample(self, i: int, padding: str) -> Sample:
        """One of the batch; the audio's words are without padding, if that is masked."""

        def tokens(name: str) -> list:
            condition = self.conditions[name]
            return list(condition.tokens[i][condition.mask[i]].numpy())

        def words(name: str) -> list:
            return [x for x in tokens(name) if padding == "attended" or x.any()]

        return Sample(
            self.latents["video"][i].numpy(),
            self.latents["audio"][i].numpy(),
            self.times["video"].per_latent()[i].tolist(),
            self.times["audio"].per_latent()[i].tolist(),
            tokens("caption"),
            {"speech": words("speech"), "sound": words("sound")},
            tokens("voice"),
            tokens("image"),
        )


def inputs() -> Inputs:
    """Some captions end in tokens of zeros, as Wan's text encoder pads them, masked as true."""
    g = torch.Generator().manual_seed(5)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def condition(name: str, *lengths: int) -> Condition:
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        shape = (4, 4) if name == "image" else ()
        tokens = noise(4, max(lengths), *shape, WIDTHS[name])
        if name in ("caption", "sound"):
            tokens[1:3, -1] = 0
        return Condition(tokens, mask)

    def times(values: list[list[float]], latents: int, own_time: int | None = None) -> Times:
        index = torch.zeros(4, latents, dtype=torch.long)
        if own_time is not None:
            index[own_time, -1] = 1
        return Times(torch.tensor(values, dtype=torch.float64), index)

    return Inputs(
        AV(noise(4, VIDEO, 4, 4, 3), noise(4, AUDIO, 5)),
        AV(
            times([[0.7], [0.4], [0.9], [0.0]], VIDEO),
            times([[0.7, 0.1], [0.55, 0.2], [0.0, 0.3], [0.3, 0.1]], AUDIO, own_time=1),
        ),
        {
            "caption": condition("caption", 3, 1, 2, 3),
            "speech": condition("speech", 2, 3, 1, 2),
            "sound": condition("sound", 1, 3, 2, 1),
            "voice": condition("voice", 3, 1, 2, 0),
            "image": condition("image", 0, 1, 0, 0),
        },
    )


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_velocities_equal_those_of_the_papers_equations(case: str) -> None:
    interaction, settings = CASES[case]
    denoiser, batch = built(interaction, settings), inputs()
    found = denoiser(batch.latents, batch.times, batch.conditions)
    loops, largest = reference(denoiser, interaction, settings), 0.0
    for i in range(4):
        video, audio = loops.velocities(batch.sample(i, denoiser.branches["audio"].spec.padding))
        for wanted, got in ((video, found["video"][i]), (audio, found["audio"][i])):
            assert 0.1 < abs(wanted).max() < 10
            largest = max(largest, float(abs(wanted - got.numpy()).max()))
    print(f"{case}: largest difference {largest:.1e}")
    assert largest <= BOUND
