"""A copy of the model in every process."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.strategies.launch import is_launched
from harmony_parts.strategies.process import SingleProcess
from harmony_parts.strategies.protocol import Strategy
from harmony_parts.strategies.settings import check_groups, seq_knob, timeout_knob


@attrs.frozen
class DataParallel:
    """Each process has all weights, and gradients are summed after the backward pass.

    It trains any model whose training fits on one device. Without torchrun it is one process.
    """

    seq: int = seq_knob()
    timeout: float = timeout_knob()

    def shards_of(self, ranks: int, local: int) -> int:
        """One: nothing is divided."""
        return 1

    def build(self, *, device: torch.device) -> Strategy:
        """Connect the processes that torchrun started.

        Raises RunError if their number isn't a multiple of `seq`.
        """
        if not is_launched():
            return SingleProcess(device)
        check_groups(self.seq, "seq")
        from harmony_parts.strategies.processes import connect  # torch.distributed

        return connect(device, self.timeout, seq=self.seq)
