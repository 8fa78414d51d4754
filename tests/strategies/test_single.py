"""One process on one device."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from harmony_parts.errors import RunError
from harmony_parts.layers.sequence import WHOLE, VideoShare
from harmony_parts.strategies.process import SingleProcess
from harmony_parts.strategies.processes import Processes
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


class Sharing(nn.Module):
    """A network that remembers its share of a video."""

    share = WHOLE

    def share_video(self, share: VideoShare) -> None:
        self.share = share


def test_alone_has_whole_clips_and_gives_them_back() -> None:
    """Also after an error; without shared clips nothing is touched."""
    network, cpu = Sharing(), torch.device("cpu")
    half = VideoShare(1, 2)
    process = Processes(0, 2, cpu, None, share=half)
    process.prepare([network])
    assert network.share is half
    with process.alone([network]):
        assert network.share is WHOLE
    assert network.share is half
    with pytest.raises(KeyError), process.alone([network]):
        raise KeyError
    assert network.share is half
    with Processes(0, 2, cpu, None).alone([nn.Linear(1, 1)]):  # shares no clip
        pass
    with SingleProcess(cpu).alone([network]):
        assert network.share is half


def test_a_process_with_a_part_of_the_weights_is_not_alone() -> None:
    with (
        pytest.raises(RunError, match="can't generate in one of them"),
        Processes(0, 2, torch.device("cpu"), None, shards=2).alone([]),
    ):
        pass
