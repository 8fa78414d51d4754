"""Declarations of the built-in filters."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_filter() -> Iterator[PartDeclaration]:
    yield part(
        "sound",
        "harmony_parts.filters.sound:SoundPresent",
        summary="Drops clips without sound, or whose sound never rises above a level.",
    )
    yield part(
        "silence",
        "harmony_parts.filters.silence:Silence",
        summary="Drops clips that are silent for more than a share of their time.",
    )
    yield part(
        "length",
        "harmony_parts.filters.length:Length",
        summary="Drops recordings that are too short or too long.",
    )
    yield part(
        "scene-cut",
        "harmony_parts.filters.scene_cut:SceneCut",
        summary="Drops clips with a hard cut between two scenes.",
    )
    yield part(
        "metric",
        "harmony_parts.filters.metric:MetricRange",
        summary="Drops clips for which a number of any metric is too low or too high.",
    )
