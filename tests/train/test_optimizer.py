"""Gradient clipping and weight decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harmony_parts.assembly.recipe import Training
from harmony_parts.train.optimizer import clip_gradients, make_optimizer


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e6])
def test_long_gradients_are_scaled_to_the_clip_and_short_ones_left_alone(max_norm: float) -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(n, 3)) for n in (1, 7, 40)]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    before = [p.grad.clone() for p in parameters if p.grad is not None]
    norm = torch.stack([gradient.square().sum() for gradient in before]).sum().sqrt()
    untrained = nn.Parameter(torch.zeros(2))  # without a gradient
    assert clip_gradients([*parameters, untrained], max_norm).item() == pytest.approx(
        norm.item(), rel=1e-5
    )
    factor = min(1.0, max_norm / norm.item()) if max_norm else 1.0
    for parameter, gradient in zip(parameters, before, strict=True):
        torch.testing.assert_close(
            parameter.grad, gradient * factor, rtol=0.0 if factor == 1 else 1e-5, atol=0
        )
    assert untrained.grad is None


@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_without_a_gradient_a_step_only_decays_the_weights(decay: float) -> None:
    """AdamW: w (1 - learning rate * decay); gradients of 0 move nothing."""
    weight = nn.Parameter(torch.tensor([2.0, -3.0]))
    weight.grad = torch.zeros(2)
    settings = Training(learning_rate=0.1, weight_decay=decay)
    make_optimizer([weight], settings, torch.device("cpu")).step()
    wanted = [2.0 * (1 - 0.1 * decay), -3.0 * (1 - 0.1 * decay)]
    assert weight.tolist() == pytest.approx(wanted, rel=1e-6)
