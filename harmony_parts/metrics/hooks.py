"""Declarations of the built-in metrics."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_metric() -> Iterator[PartDeclaration]:
    yield part(
        "events",
        "harmony_parts.metrics.events:Events",
        summary=(
            "Flashes and sound onsets, matched one to one: matched shares, offsets, counts and F1."
        ),
        source="this project",
    )
    yield part(
        "correlation",
        "harmony_parts.metrics.correlation:Correlation",
        summary=(
            "Normalised cross-correlation of motion and sound envelope: its peak, the lag of the"
            " peak, and the value at lag 0."
        ),
        source="this project",
    )
    yield part(
        "soundstage-words",
        "harmony_parts.metrics.soundstage_words:SoundstageWords",
        summary="Word and character error of Soundstage's 50 words, by a recogniser that ships.",
        source="this project",
    )
    yield part(
        "soundstage-voice",
        "harmony_parts.metrics.soundstage_voice:SoundstageVoice",
        summary="Whether the reference's voice is heard, of Soundstage's six, by a classifier.",
        source="this project",
    )
    yield part(
        "soundstage-mouth",
        "harmony_parts.metrics.soundstage_mouth:SoundstageMouth",
        summary="Correlation of the mouths of Soundstage's faces with the level of the speech.",
        source="this project",
    )
