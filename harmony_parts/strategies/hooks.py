"""The built-in strategies."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_strategy() -> Iterator[PartDeclaration]:
    """One process."""
    yield part(
        "single",
        "harmony_parts.strategies.single:Single",
        summary="One process on one device.",
    )
