"""Declarations of the built-in metrics."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_metric() -> Iterator[PartDeclaration]:
    yield part(
        "events",
        "harmony_parts.metrics.events:Events",
        summary=(
            "Flashes and sound onsets, matched one to one: matched shares, offsets, counts and F1."
        ),
        source="this project",
    )
    yield part(
        "correlation",
        "harmony_parts.metrics.correlation:Correlation",
        summary=(
            "Normalised cross-correlation of motion and sound envelope: its peak, the lag of the"
            " peak, and the value at lag 0."
        ),
        source="this project",
    )
