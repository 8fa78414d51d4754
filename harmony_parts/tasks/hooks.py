"""The built-in tasks."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part

PAPER = "arXiv:2511.21579"


@hookimpl
def harmony_task() -> Iterator[PartDeclaration]:
    """Joint generation, the driven tasks, continuation, and two ways to combine tasks."""
    yield part(
        "joint",
        "harmony_parts.tasks.joint:Joint",
        summary="Generates both streams, at times of one draw.",
        source=PAPER,
    )
    yield part(
        "audio-driven",
        "harmony_parts.tasks.audio_driven:AudioDriven",
        summary="Generates video for clean audio.",
        source=PAPER,
    )
    yield part(
        "video-driven",
        "harmony_parts.tasks.video_driven:VideoDriven",
        summary="Generates audio for clean video.",
        source=PAPER,
    )
    yield part(
        "continuation",
        "harmony_parts.tasks.continuation:Continuation",
        summary="Gives the first latents of one or both streams, and trains a task on the rest.",
        source="arXiv:2205.11495",
    )
    yield part(
        "weighted-sum",
        "harmony_parts.tasks.weighted_sum:WeightedSum",
        summary="Trains every task on every clip; sums the losses with weights.",
        source=PAPER,
    )
    yield part(
        "sampled",
        "harmony_parts.tasks.sampled:Sampled",
        summary=(
            "Trains one randomly drawn task on each clip: the weighted sum in expectation, at the"
            " cost of one task."
        ),
    )
