"""One process on one device."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from harmony_parts.strategies.process import SingleProcess
from harmony_parts.strategies.single import Single
from harmony_parts.testing.contracts import check_strategy


def test_single_meets_its_contract() -> None:
    check_strategy(Single())


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e6])
def test_long_gradients_are_scaled_to_the_clip_and_short_ones_left_alone(max_norm: float) -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(n, 3)) for n in (1, 7, 40)]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    before = [p.grad.clone() for p in parameters if p.grad is not None]
    norm = torch.stack([gradient.square().sum() for gradient in before]).sum().sqrt()
    untrained = nn.Parameter(torch.zeros(2))  # without a gradient
    process = SingleProcess(torch.device("cpu"))
    found = process.clip([*parameters, untrained], max_norm).item()
    assert found == pytest.approx(norm.item(), rel=1e-5)
    factor = min(1.0, max_norm / norm.item()) if max_norm else 1.0
    for parameter, gradient in zip(parameters, before, strict=True):
        torch.testing.assert_close(
            parameter.grad, gradient * factor, rtol=0.0 if factor == 1 else 1e-5, atol=0
        )
    assert untrained.grad is None


def test_nothing_of_torch_distributed_is_imported() -> None:
    """Beyond what torch itself imports."""
    code = (
        "import sys, torch; before = set(sys.modules)\n"
        "import harmony_parts.strategies.single\n"
        "new = set(sys.modules) - before\n"
        "assert not [name for name in new if 'distributed' in name], new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
