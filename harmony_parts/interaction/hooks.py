"""The interactions in the box."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_interaction() -> Iterator[PartDeclaration]:
    """Declare them."""
    yield part(
        "gldi",
        "harmony_parts.interaction.gldi:GLDI",
        summary=(
            "Local attention in both directions for timing, and the reference sound alone for"
            " style."
        ),
        source="arXiv:2511.21579, section 3.2",
    )
    yield part(
        "global",
        "harmony_parts.interaction.global_cross:Global",
        summary=(
            "Every token hears every token of the other stream, through its own text attention."
        ),
        source="Ovi, arXiv:2510.01284",
    )
    yield part(
        "none",
        "harmony_parts.interaction.none:NoInteraction",
        summary="Two branches that don't hear each other: the baseline.",
    )
