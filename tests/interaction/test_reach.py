"""Interactions start without effect, and local ones reach no further than their windows."""

from __future__ import annotations

import pytest
import torch
from helpers.small_denoiser import CODECS, TA, TV, WIDTHS, at, build, inputs, nonzero

from harmony_parts.av import STREAMS
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.testing.stand_ins import StubEncoder


@pytest.mark.parametrize("interaction", ["gldi", "global"])
def test_an_interaction_starts_without_effect(interaction: str) -> None:
    av, conditions = inputs()
    without, together = build("none", fresh=True), build(interaction, fresh=True)
    together.load_state_dict(without.state_dict(), strict=False)
    for denoiser in (without, together):
        for s in STREAMS:
            torch.nn.init.ones_(denoiser.branches[s].head.out.weight)
    a, b = without(av, at(0.7, 0.7), conditions), together(av, at(0.7, 0.7), conditions)
    assert torch.equal(a.video, b.video)
    assert torch.equal(a.audio, b.audio)


def test_local_attention_reaches_no_further_than_its_windows() -> None:
    """An audio latent changes only the video latents whose windows contain it."""
    spec = DualBranch(
        layers=1,
        video=VideoTransformer(24, 2, 32, 1),
        audio=MMDiT(16, 2, 32),
        interaction=GLDI(audio_window=0.0, video_window=0.0),
    )
    torch.manual_seed(0)
    denoiser = nonzero(spec.build(codecs=CODECS, encoders={"all": StubEncoder(**WIDTHS)})).double()
    layer = denoiser.blocks[0].interaction
    av, _ = inputs()
    tables = denoiser._interaction_tables(av)
    mask = tables.video.windows.mask(TA)
    video, audio = (
        torch.randn(1, TV, 4, 24, dtype=torch.float64),
        torch.randn(1, TA, 1, 16, dtype=torch.float64),
    )
    before = layer.to_video(video, audio, tables.video)
    for j in range(TA):
        changed = audio.clone()
        changed[:, j] += 1
        after = layer.to_video(video, changed, tables.video)
        moved = (after != before).flatten(2).any(2)[0]
        assert torch.equal(moved, mask[:, j])


@pytest.mark.parametrize("stream", STREAMS)
def test_a_latent_outside_the_window_has_no_gradient(stream: str) -> None:
    """Exactly none, in both directions."""
    denoiser = build("gldi")
    interaction, other = denoiser.blocks[0].interaction, "audio" if stream == "video" else "video"
    av, _ = inputs()
    direction = denoiser._interaction_tables(av)[stream]
    cross = getattr(interaction, f"to_{stream}")
    g = torch.Generator().manual_seed(0)
    hidden = {
        "video": torch.randn(2, TV, 4, 24, generator=g, dtype=torch.float64),
        "audio": torch.randn(2, TA, 1, 16, generator=g, dtype=torch.float64),
    }
    source = hidden[other].requires_grad_()
    seen = direction.windows.mask(source.shape[1])
    assert not seen.all(), "windows that contain everything prove nothing"
    for i in range(hidden[stream].shape[1]):
        out = cross(hidden[stream], source, direction)
        (gradient,) = torch.autograd.grad(out[:, i].square().sum(), source)
        assert torch.equal(gradient.flatten(2).any(2).any(0), seen[i])
