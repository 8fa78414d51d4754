"""Weights, gradients and optimizer state divided between processes."""

from __future__ import annotations

import os

import attrs
import torch
from attrs.validators import ge

from harmony_parts.plugin import knob
from harmony_parts.strategies.launch import is_launched, launched_ranks
from harmony_parts.strategies.process import SingleProcess
from harmony_parts.strategies.protocol import Strategy
from harmony_parts.strategies.settings import check_groups, seq_knob, timeout_knob


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
    seq: int = seq_knob()
    timeout: float = timeout_knob()

    def shards_of(self, ranks: int, local: int) -> int:
        """Those of the setting, or of a machine."""
        return min(ranks, self.shards or local)

    def build(self, *, device: torch.device) -> Strategy:
        """Connect the processes that torchrun started.

        Raises RunError if their number isn't a multiple of `shards` and of `seq`.
        """
        if not is_launched():
            return SingleProcess(device)
        ranks = launched_ranks()
        shards = self.shards_of(ranks, int(os.environ.get("LOCAL_WORLD_SIZE", ranks)))
        check_groups(self.shards or shards, "shards")
        check_groups(self.seq, "seq")
        from harmony_parts.strategies.processes import connect  # torch.distributed

        return connect(device, self.timeout, shards, self.seq)
