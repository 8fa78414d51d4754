"""The built-in strategies."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_strategy() -> Iterator[PartDeclaration]:
    """One process, and several."""
    yield part(
        "single",
        "harmony_parts.strategies.single:Single",
        summary="One process on one device.",
    )
    yield part(
        "data-parallel",
        "harmony_parts.strategies.data_parallel:DataParallel",
        summary="Several processes, each with a copy of the model and its rows of a batch.",
    )
    yield part(
        "fsdp",
        "harmony_parts.strategies.fsdp:FSDP",
        summary="Several processes that divide weights, gradients and optimizer state (FSDP2).",
        source="arXiv:2304.11277",
    )
