"""The data sets that come with the library."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_data() -> Iterator[PartDeclaration]:
    """Data sets."""
    yield part(
        "soundstage",
        "harmony_parts.data.soundstage:Soundstage",
        summary=(
            "A seeded procedural world (bouncing ball, hammer, struck bars) in which the time of"
            " every event is known exactly."
        ),
        source="this project",
    )
    yield part(
        "clips",
        "harmony_parts.data.clips:ClipFolder",
        summary="A folder of media files, with an optional manifest of captions and transcripts.",
    )
