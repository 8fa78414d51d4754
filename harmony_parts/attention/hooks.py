"""The attention backends in the box."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_attention() -> Iterator[PartDeclaration]:
    """Declare them."""
    yield part(
        "reference",
        "harmony_parts.attention.reference:Reference",
        summary="Dense scores and a mask: the definition; fastest for toy shapes.",
        source="arXiv:2511.21579, section 3.2",
    )
    yield part(
        "eager",
        "harmony_parts.attention.eager:Eager",
        summary="Gathers each window in plain PyTorch; cost grows with the windows.",
        source="this project",
    )
