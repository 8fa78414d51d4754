"""The built-in optimizers."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_optimizer() -> Iterator[PartDeclaration]:
    """AdamW."""
    yield part(
        "adamw",
        "harmony_parts.optimizers.adamw:AdamW",
        summary="AdamW; by default only the matrices of layers decay.",
        source="arXiv:1711.05101",
    )
