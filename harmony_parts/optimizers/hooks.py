"""The built-in optimizers."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_optimizer() -> Iterator[PartDeclaration]:
    """AdamW and Muon."""
    yield part(
        "adamw",
        "harmony_parts.optimizers.adamw:AdamW",
        summary="AdamW; by default only the matrices of layers decay.",
        source="arXiv:1711.05101",
    )
    yield part(
        "muon",
        "harmony_parts.optimizers.muon:Muon",
        summary="Muon for the matrices of layers, AdamW for everything else.",
        source="arXiv:2502.16982",
    )
