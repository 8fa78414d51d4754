"""Gradients of the embedding and output layers of branches, against finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.small_denoiser import nonzero
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call

from harmony_parts.av import Condition, Times
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer

B, L = 2, 3
SOUND: Any = {"sound": ("context", 4)}
BRANCHES: dict[str, Any] = {  # spec, shape of a latent, conditions
    "transformer": (
        VideoTransformer(width=12, heads=2, feed=8, patch=2),
        (4, 2, 2),
        {"caption": ("context", 5)},
    ),
    "mmdit": (
        MMDiT(width=12, heads=2, feed=8),
        (3,),
        SOUND | {"voice": ("clean_tokens", 3)},
    ),
    "cross": (CrossAudio(width=12, heads=2, feed=8), (3,), SOUND),
}


class EmbedUnembed(nn.Module):
    """A branch without layers between its embedding and its head."""

    def __init__(self, branch: Any) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor, times: Times, conditions: dict[str, Condition]) -> Tensor:
        """Latents to velocities; the mean of the context is added, so that its weights count."""
        tokens = self.branch.embed(x, times, self.branch.project_conditions(conditions))
        context = 0 if tokens.context is None else tokens.context.mean()
        return self.branch.unembed(tokens, x.shape) + context


@pytest.mark.parametrize("name", BRANCHES)
def test_gradients_of_embedding_and_head(name: str) -> None:
    """Of latents and every weight, in float64; times differ between samples and latents."""
    spec, latent, ways = BRANCHES[name]
    torch.manual_seed(0)
    branch = spec.build(channels=latent[-1], grid=latent[:-1], conditions=ways)
    branch = nonzero(branch).double()
    g = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    mask = torch.arange(L) < torch.tensor([[L], [1]])
    conditions = {n: Condition(noise(B, L, width), mask) for n, (_, width) in ways.items()}
    x = noise(B, 3, *latent)
    times = Times.uniform(torch.tensor([0.7, 0.2], dtype=torch.float64), 3)
    times = times.clean_where(torch.arange(3).expand(B, -1) == 0)
    weights = {n: p.detach().requires_grad_() for n, p in branch.named_parameters()}

    def run(x: Tensor, *values: Tensor) -> Tensor:
        named = {f"branch.{n}": value for n, value in zip(weights, values, strict=True)}
        return functional_call(EmbedUnembed(branch), named, (x, times, conditions))

    assert gradcheck(run, (x.requires_grad_(), *weights.values()), fast_mode=True, atol=1e-7)
