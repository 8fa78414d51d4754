"""Weights, gradients and optimizer state divided between processes."""

from __future__ import annotations

import os

import attrs
import torch
from attrs.validators import ge, gt

from harmony_parts.errors import RunError
from harmony_parts.plugin import knob
from harmony_parts.strategies.launch import is_launched, launched_ranks
from harmony_parts.strategies.process import SingleProcess
from harmony_parts.strategies.protocol import Strategy


@attrs.frozen
class FSDP:
    """Each block is gathered when it computes (FSDP2, arXiv:2304.11277).

    With fewer shards than processes there are several copies, and gradients are summed over them
    (HSDP). Without torchrun it is one process.
    """

    shards: int = knob(
        0,
        help="processes that divide a copy of the weights; 0: those of a machine",
        unit="processes",
        validator=ge(0),
    )
    timeout: float = knob(
        1800.0, help="how long a process waits for another", unit="s", validator=gt(0)
    )

    def shards_of(self, ranks: int, local: int) -> int:
        """Those of the setting, or of a machine."""
        return min(ranks, self.shards or local)

    def build(self, *, device: torch.device) -> Strategy:
        """Connect the processes that torchrun started.

        Raises RunError if their number isn't a multiple of `shards`.
        """
        if not is_launched():
            return SingleProcess(device)
        ranks = launched_ranks()
        shards = self.shards_of(ranks, int(os.environ.get("LOCAL_WORLD_SIZE", ranks)))
        if ranks % (self.shards or shards):
            raise RunError(
                f"$.train.strategy.shards: {ranks} processes can't be divided into groups of"
                f" {self.shards or shards}"
            )
        from harmony_parts.strategies.processes import connect  # torch.distributed

        return connect(device, self.timeout, shards)
