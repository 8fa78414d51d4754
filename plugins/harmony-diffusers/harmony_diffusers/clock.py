"""Counts and clock of a causal codec, whose first latent has one step and each other k steps."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor


def latents_of(steps: int, k: int) -> int:
    """Number of latents of `steps` steps: 1 + ceil((steps - 1) / k)."""
    if steps < 1:
        raise ValueError(f"a clip has at least one frame and one sample of sound, not {steps}")
    return 1 - (1 - steps) // k


def steps_of(latents: int, k: int) -> int:
    """Number of steps of `latents` latents: 1 + k (latents - 1)."""
    if latents < 1:
        raise ValueError(f"a clip has at least one latent, not {latents}")
    return 1 + k * (latents - 1)


def intervals(latents: int, k: int, step: Fraction) -> Tensor:
    """float64 [latents, 2] (start, end) in seconds, for steps of `step` seconds."""
    edges = (
        (torch.arange(latents + 1, dtype=torch.float64) * k + (1 - k)).clamp(min=0)
        * step.numerator
        / step.denominator
    )
    return torch.stack([edges[:-1], edges[1:]], dim=1)
