"""The built-in schedules of the learning rate."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_schedule() -> Iterator[PartDeclaration]:
    """Constant, and a cosine at the end."""
    yield part(
        "constant",
        "harmony_parts.schedules.constant:Constant",
        summary="A linear warm-up, then a constant rate.",
    )
    yield part(
        "cosine",
        "harmony_parts.schedules.cosine:Cosine",
        summary="A linear warm-up, a constant rate, and a half cosine over the last share.",
        source="arXiv:1608.03983",
    )
