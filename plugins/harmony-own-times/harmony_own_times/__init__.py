"""A task plugin: joint training in which each stream has a time of its own."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_task() -> Iterator[PartDeclaration]:
    """Declare it."""
    yield part(
        "own-times",
        "harmony_own_times.own_times:OwnTimes",
        summary=(
            "Both streams are noisy and learnt, each at a time drawn for itself, so that all stages"
            " of one meet all stages of the other."
        ),
        source="UniDiffuser, arXiv:2303.06555",
    )
