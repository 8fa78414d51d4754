"""The tasks that ship."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part

PAPER = "arXiv:2511.21579"


@hookimpl
def harmony_task() -> Iterator[PartDeclaration]:
    """Joint generation, the two driven tasks, and two ways to mix tasks."""
    yield part(
        "joint",
        "harmony_parts.tasks.joint:Joint",
        summary="Both streams are made, at the same time.",
        source=PAPER,
    )
    yield part(
        "audio-driven",
        "harmony_parts.tasks.audio_driven:AudioDriven",
        summary="The video is made for a clean sound.",
        source=PAPER,
    )
    yield part(
        "video-driven",
        "harmony_parts.tasks.video_driven:VideoDriven",
        summary="The sound is made for a clean video.",
        source=PAPER,
    )
    yield part(
        "weighted-sum",
        "harmony_parts.tasks.weighted_sum:WeightedSum",
        summary="Every clip goes through every task; the losses are summed with weights.",
        source=PAPER,
    )
    yield part(
        "sampled",
        "harmony_parts.tasks.sampled:Sampled",
        summary=(
            "Each clip goes through one task, drawn by chance: the weighted sum in expectation, at"
            " the price of one task."
        ),
    )
