"""Declarations of the built-in data sets."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_data() -> Iterator[PartDeclaration]:
    yield part(
        "soundstage",
        "harmony_parts.data.soundstage:Soundstage",
        summary=(
            "A seeded procedural world (bouncing ball, hammer, chime bars) with the exact time of"
            " every event."
        ),
        source="this project",
    )
    yield part(
        "clips",
        "harmony_parts.data.clips:ClipFolder",
        summary="A folder of media files, with an optional manifest of captions and transcripts.",
    )
    yield part(
        "tars",
        "harmony_parts.data.tars:ClipTars",
        summary="Media files with their texts in tar archives, as webdataset writes them.",
    )
