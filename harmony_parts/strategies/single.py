"""One process on one device."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch

from harmony_parts.errors import RunError
from harmony_parts.strategies.launch import launched_ranks
from harmony_parts.strategies.process import SingleProcess


@attrs.frozen
class Single:
    """No settings. It imports nothing of torch.distributed."""

    seq: ClassVar[int] = 1

    def shards_of(self, ranks: int, local: int) -> int:
        """One, of one process."""
        return int(ranks == 1)

    def build(self, *, device: torch.device) -> SingleProcess:
        """The only process. Raises RunError if a launcher started several."""
        if (ranks := launched_ranks()) > 1:
            raise RunError(
                f"{ranks} processes were started, and the strategy `single` trains in one: choose"
                " another (--set train.strategy=fsdp, or data-parallel)"
            )
        return SingleProcess(device)
