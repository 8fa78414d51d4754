"""Declarations of the built-in sources of prepared clips."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_source() -> Iterator[PartDeclaration]:
    yield part(
        "shards",
        "harmony_parts.sources.shards:Shards",
        summary="Clips that `harmony prepare` wrote, from a folder or a URL.",
    )
    yield part(
        "mix",
        "harmony_parts.sources.mix:Mix",
        summary="Several sources, each with its share of all clips that are drawn.",
        source="arXiv:2511.21579: speech and environment, 1 to 1",
    )
