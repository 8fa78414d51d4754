"""A copy of the model in every process."""

from __future__ import annotations

import attrs
import torch
from attrs.validators import gt

from harmony_parts.plugin import knob
from harmony_parts.strategies.launch import is_launched
from harmony_parts.strategies.process import SingleProcess
from harmony_parts.strategies.protocol import Strategy


@attrs.frozen
class DataParallel:
    """Each process has all weights, and gradients are summed after the backward pass.

    It trains any model whose training fits on one device. Without torchrun it is one process.
    """

    timeout: float = knob(
        1800.0, help="how long a process waits for another", unit="s", validator=gt(0)
    )

    def shards_of(self, ranks: int, local: int) -> int:
        """One: nothing is divided."""
        return 1

    def build(self, *, device: torch.device) -> Strategy:
        """Connect the processes that torchrun started."""
        if not is_launched():
            return SingleProcess(device)
        from harmony_parts.strategies.processes import connect  # torch.distributed

        return connect(device, self.timeout)
