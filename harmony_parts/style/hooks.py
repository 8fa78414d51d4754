"""The style parts in the box."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_style() -> Iterator[PartDeclaration]:
    """Declare them."""
    yield part(
        "alignment",
        "harmony_parts.style.alignment:StyleAlignment",
        summary="The reference sound attends to the whole video.",
        source="arXiv:2511.21579, section 3.2",
    )
    yield part(
        "none",
        "harmony_parts.style.none:NoStyle",
        summary="The reference sound keeps to itself: the ablation.",
    )
