"""AdamW: its contract, its step by the equations, and what decays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from torch import nn

from harmony_parts.assembly.build import build
from harmony_parts.models.folder import saved_modules
from harmony_parts.optimizers.adamw import AdamW
from harmony_parts.testing.contracts import check_optimizer

DECAYING = AdamW(learning_rate=0.1, weight_decay=0.25)


def decays(spec: AdamW, modules: nn.Module) -> dict[str, float]:
    """Name of each weight -> its weight decay."""
    groups = spec.build(modules=modules).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    return {name: decay[id(p)] for name, p in modules.named_parameters()}


@pytest.mark.parametrize("spec", [AdamW(), DECAYING, AdamW(weight_decay=0.1, decays="all")])
def test_adamw_meets_its_contract(spec: AdamW) -> None:
    check_optimizer(spec)


def test_a_step_follows_the_equations() -> None:
    """Three steps against plain float64 arithmetic."""
    layer = nn.Linear(3, 2)
    spec = AdamW(learning_rate=0.01, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.2)
    optimizer = spec.build(modules=layer)
    w = {name: p.detach().double().clone() for name, p in layer.named_parameters()}
    m, v = ({name: torch.zeros_like(x) for name, x in w.items()} for _ in "mv")
    generator = torch.Generator().manual_seed(0)
    for step in (1, 2, 3):
        for name, p in layer.named_parameters():
            p.grad = torch.randn(p.shape, generator=generator)
            g = p.grad.double()
            m[name] = 0.8 * m[name] + 0.2 * g
            v[name] = 0.9 * v[name] + 0.1 * g * g
            mean, square = m[name] / (1 - 0.8**step), v[name] / (1 - 0.9**step)
            decay = 0.2 if name == "weight" else 0.0
            w[name] = w[name] - 0.01 * (mean / (square.sqrt() + 1e-3) + decay * w[name])
        optimizer.step()
    for name, p in layer.named_parameters():
        torch.testing.assert_close(p.detach().double(), w[name], rtol=1e-6, atol=1e-7)


def test_only_matrices_decay_by_default() -> None:
    """In a real model: no norm, bias, modulation table, group token or embedding."""
    modules = saved_modules(build(tiny.recipe()))
    found = decays(DECAYING, modules)
    exempt = {name for name, decay in found.items() if not decay}
    shapes = {name: p.ndim for name, p in modules.named_parameters()}
    assert {name for name in exempt if shapes[name] > 1} == {
        "denoiser.branches.video.head.modulation",
        "denoiser.branches.audio.head.modulation",
        "denoiser.blocks.0.video.modulation",
        "denoiser.blocks.0.audio.modulation",
        "encoders.caption.embedding.weight",
        "encoders.sound.embedding.weight",
    }
    assert {name for name in found if shapes[name] < 2} <= exempt
    assert all(found[name] == 0.25 for name in found if name not in exempt)
    assert len(found) - len(exempt) > 40
    everything = AdamW(weight_decay=0.25, decays="all")
    assert set(decays(everything, modules).values()) == {0.25}


@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_without_a_gradient_a_step_only_decays_the_weights(decay: float) -> None:
    """w (1 - learning rate * decay); gradients of 0 move nothing."""
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -3.0]]))
    layer.weight.grad = torch.zeros(1, 2)
    AdamW(learning_rate=0.1, weight_decay=decay).build(modules=layer).step()
    wanted = [2.0 * (1 - 0.1 * decay), -3.0 * (1 - 0.1 * decay)]
    assert layer.weight[0].tolist() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": 0}, {"beta1": 1.0}, {"eps": 0}, {"decays": "norms"}]
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AdamW(**wrong)
