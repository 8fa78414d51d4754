"""The metrics that come with the library."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_metric() -> Iterator[PartDeclaration]:
    """Metrics of sync."""
    yield part(
        "events",
        "harmony_parts.metrics.events:Events",
        summary=(
            "Flashes seen and onsets heard, matched one to one: matched shares, offsets, counts"
            " and F1."
        ),
        source="this project",
    )
    yield part(
        "correlation",
        "harmony_parts.metrics.correlation:Correlation",
        summary=(
            "Motion against the sound's envelope: peak of their normalised cross-correlation, its"
            " lag, and the value at lag 0."
        ),
        source="this project",
    )
