"""Declares the built-in interactions."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_interaction() -> Iterator[PartDeclaration]:
    """Declare the interactions."""
    yield part(
        "gldi",
        "harmony_parts.interaction.gldi:GLDI",
        summary=(
            "Local attention in both directions for timing; style only through the reference audio."
        ),
        source="arXiv:2511.21579, section 3.2",
    )
    yield part(
        "global",
        "harmony_parts.interaction.global_cross:Global",
        summary=(
            "Every token attends to every token of the other stream, within its text attention."
        ),
        source="Ovi, arXiv:2510.01284",
    )
    yield part(
        "none",
        "harmony_parts.interaction.none:NoInteraction",
        summary="No exchange between the branches: the baseline.",
    )
