"""Processes that share the tokens of a video compute what one does, and its gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import small_denoiser as small
from helpers.threads import run_shared
from torch import nn

from harmony_parts.attention.eager import Eager
from harmony_parts.attention.reference import Reference
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.interaction.none import NoInteraction
from harmony_parts.layers.sequence import VideoShare
from harmony_parts.style.none import NoStyle
from harmony_parts.style.tokens import StyleTokens

TOLERANCE = 1e-12  # float64; outputs and gradients are of order 1


def loss_of(denoiser: BranchDenoiser) -> torch.Tensor:
    """A loss in which every velocity has a weight of its own."""
    av, conditions = small.inputs()
    out = denoiser(av, small.at((0.3, 0.5, 0.9), (0.3, 0.0, 0.6)), conditions)
    g = torch.Generator().manual_seed(5)
    return torch.stack(
        [(out[s] * torch.randn(out[s].shape, generator=g, dtype=torch.float64)).sum() for s in out]
    ).sum()


def gradients(denoiser: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in denoiser.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("interaction", "more", "size"),
    [
        (GLDI(attention=Eager()), {"recompute": "all_but_attention"}, 4),
        (GLDI(attention=Reference(), style=StyleTokens(tokens=3, head_width=4)), {}, 2),
        (GLDI(style=NoStyle()), {"driven_interaction": "one_way"}, 2),
        (Global(), {"recompute": "all"}, 4),
        (Global(), {"audio": CrossAudio(width=16, heads=4, feed=32)}, 2),
        (NoInteraction(), {}, 2),
    ],
    ids=["alignment", "style-tokens", "one-way", "global", "cross-audio", "none"],
)
def test_shares_of_a_video_are_the_whole(interaction, more, size):
    """The same velocities in every process; gradients of shares of the loss add up to its own."""
    whole = small.build(interaction, heads=4, **more)
    expected = loss_of(whole)
    expected.backward()

    def run(share: VideoShare) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        denoiser = copy.deepcopy(whole)
        denoiser.zero_grad()
        denoiser.share_video(share)
        loss = loss_of(denoiser)
        (loss / size).backward()
        return loss.detach(), gradients(denoiser)

    results = run_shared(size, run)
    for loss, _ in results:
        torch.testing.assert_close(loss, expected.detach(), rtol=TOLERANCE, atol=TOLERANCE)
    names = {name for _, found in results for name in found}
    assert names == gradients(whole).keys()
    for name, gradient in gradients(whole).items():
        total = torch.stack([found[name] for _, found in results if name in found]).sum(0)
        torch.testing.assert_close(total, gradient, rtol=1e-10, atol=TOLERANCE * 100, msg=name)


def test_what_cannot_be_shared_is_named() -> None:
    """Heads, tokens, a part that needs the whole video, a model without one."""

    def refuse(denoiser: BranchDenoiser, size: int, text: str) -> None:
        with pytest.raises(ValueError, match=text):
            denoiser.share_video(VideoShare(0, size))

    refuse(small.build(), 3, r"4 tokens of a latent \(2 x 2\)")
    refuse(small.build(), 4, "2 heads of the video branch")
    denoiser = small.build(GLDI(style=ThirdPartyStyle()))
    refuse(denoiser, 2, "NeedsAll reads the whole video")


class ThirdPartyStyle:
    """A style part that knows nothing of shares."""

    def build(self, *, branches: object) -> nn.Module:
        return NeedsAll()


class NeedsAll(nn.Module):
    def forward(self, reference: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        return reference * video.mean()
