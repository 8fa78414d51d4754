"""A task plugin: joint training with independent times of the streams."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_task() -> Iterator[PartDeclaration]:
    """Declare the task."""
    yield part(
        "own-times",
        "harmony_own_times.own_times:OwnTimes",
        summary=(
            "Trains both streams at independently drawn times, so that every noise level of one is"
            " combined with every noise level of the other."
        ),
        source="UniDiffuser, arXiv:2303.06555",
    )
