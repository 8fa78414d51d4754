"""Adaptive layer norm: shift, scale and gate from time, per distinct time, indexed by latent."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import Times
from harmony_parts.layers.linear import Linear, Precision, plain_norm

FREQUENCIES = 256  # size of a time's sinusoidal embedding, as in Wan


def sinusoid(t: Tensor, size: int = FREQUENCIES) -> Tensor:
    """cos || sin of 1000 t at geometric frequencies: [...] -> float32 [..., size].

    Angles are computed in float64.
    """
    half = size // 2
    frequencies = torch.exp(
        -math.log(1e4) * torch.arange(half, dtype=torch.float64, device=t.device) / half
    )
    angle = 1000.0 * t.double()[..., None] * frequencies
    return torch.cat((angle.cos(), angle.sin()), dim=-1).float()


@attrs.frozen(eq=False)
class Modulation:
    """Time embeddings of U distinct times, and which of them each of N positions has.

    `embedding` [B, U, D], its projection `six` [B, U, 6, D], `index` [B, N] into U.
    """

    embedding: Tensor
    six: Tensor
    index: Tensor

    def at(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows [B, U, K, D] per distinct time -> K tensors [B, N or 1, D] per position."""
        if rows.shape[1] == 1:  # one time per sample: broadcast
            return rows.unbind(2)
        index = self.index[:, :, None, None].expand(-1, -1, *rows.shape[2:])
        return rows.gather(1, index).unbind(2)


class TimeEmbedding(nn.Module):
    """Times to Modulation: sinusoid, two-layer MLP, and the projection that all layers share."""

    def __init__(self, width: int, precision: Precision) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            Linear(FREQUENCIES, width, precision), nn.SiLU(), Linear(width, width, precision)
        )
        self.project = nn.Sequential(nn.SiLU(), Linear(width, 6 * width, precision))

    def forward(self, times: Times, add: Tensor | None = None) -> Modulation:
        """Embed the times; `add` [B, D] is added to every time's embedding."""
        embedding = self.mlp(sinusoid(times.values))
        if add is not None:
            embedding = embedding + add[:, None]
        return Modulation(embedding, self.project(embedding).unflatten(-1, (6, -1)), times.index)


class Head(nn.Module):
    """Modulated norm and linear map to latents: W (norm(x) (1 + scale) + shift).

    W starts at zero, so an untrained model predicts zero velocities.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm = plain_norm(width)
        self.modulation = nn.Parameter(torch.randn(2, width) / width**0.5)
        self.out = Linear(width, out)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, hidden: Tensor, modulation: Modulation) -> Tensor:
        """[B, T, S, D] -> [B, T, S, out]."""
        shift, scale = modulation.at(modulation.embedding[:, :, None] + self.modulation)
        return self.out(self.norm(hidden) * (1 + scale[:, :, None]) + shift[:, :, None])
