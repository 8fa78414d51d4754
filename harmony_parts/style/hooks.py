"""Declares the built-in style parts."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_style() -> Iterator[PartDeclaration]:
    """Declare the style parts."""
    yield part(
        "alignment",
        "harmony_parts.style.alignment:StyleAlignment",
        summary="The reference audio attends to the whole video.",
        source="arXiv:2511.21579, section 3.2",
    )
    yield part(
        "tokens",
        "harmony_parts.style.tokens:StyleTokens",
        summary="Learned style tokens pool the whole video; the reference audio attends to them.",
        source="after arXiv:1803.09017",
    )
    yield part(
        "none",
        "harmony_parts.style.none:NoStyle",
        summary="The reference audio is left unchanged: the ablation.",
    )
