"""Sampling Gaussian data x ~ N(m, C), whose flow is known: noise n leads to x = m + C^(1/2) n."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.testing.gaussian_denoiser import GaussianDenoiser
from helpers.toy_guidance import (
    VIDEO,
    flat,
    make,
)

V = math.prod(VIDEO)


def root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.sqrt() @ vectors.T


def error(
    steps: int, model: GaussianDenoiser, noise: AV[Tensor], want: Tensor, **more: Any
) -> float:
    """The maximum error of sampled latents."""
    return float(
        (flat(make(model, noise, steps=steps, **more).only(tuple(noise))) - want).abs().max()
    )
