"""Declares the built-in references."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_reference() -> Iterator[PartDeclaration]:
    """Declare the references."""
    yield part(
        "own-cut",
        "harmony_parts.references.own_cut:OwnCut",
        summary="A random cut of the clip's own recording, which may contain the clip itself.",
        source="arXiv:2511.21579, stage 1",
    )
    yield part(
        "non-overlapping",
        "harmony_parts.references.non_overlapping:NonOverlapping",
        summary="A cut of the clip's own recording that has nothing of the clip.",
        source="arXiv:2511.21579, stage 2, for sounds",
    )
    yield part(
        "other-utterance",
        "harmony_parts.references.other_utterance:OtherUtterance",
        summary="A cut of another recording of the same speaker.",
        source="arXiv:2511.21579, stage 2, for speech",
    )
    yield part(
        "first-of",
        "harmony_parts.references.first_of:FirstOf",
        summary="The first of several references that a clip has.",
    )
