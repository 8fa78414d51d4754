"""Whether torchrun, or another launcher with its variables, started this process beside others."""

from __future__ import annotations

import os


def is_launched() -> bool:
    """Whether a launcher has given this process a rank."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launched_rank() -> int:
    """The rank that the launcher gave this process, 0 without one."""
    return int(os.environ["RANK"]) if is_launched() else 0


def was_restarted() -> bool:
    """Whether torchrun started this process again, after one of them failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launched_ranks() -> int:
    """The number of processes that the launcher started, 1 without one."""
    return int(os.environ["WORLD_SIZE"]) if is_launched() else 1
