"""Processes that share a video, as threads of this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import torch
from torch import Tensor

from harmony_parts.layers.sequence import VideoShare

T = TypeVar("T")


def run_shared(size: int, call: Callable[[VideoShare], T]) -> list[T]:
    """`call(share)` in as many threads, with the share of each; the results by rank."""
    barrier, sent = Barrier(size), [torch.empty(0)] * size

    class AllToAll(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, rows: Tensor, rank: int) -> Tensor:
            context.rank, sent[rank] = rank, rows
            barrier.wait(timeout=30)
            received = torch.stack([rows[rank] for rows in sent])
            barrier.wait(timeout=30)
            return received

        @staticmethod
        def backward(context: Any, gradient: Tensor) -> Any:
            return AllToAll.apply(gradient, context.rank), None

    def run(rank: int) -> T:
        try:
            return call(VideoShare(rank, size, lambda rows: AllToAll.apply(rows, rank)))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))
