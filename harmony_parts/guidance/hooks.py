"""The guidance that ships."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_guidance() -> Iterator[PartDeclaration]:
    """None, by text, by the other stream, and sums of them."""
    yield part("none", "harmony_parts.guidance.none:NoGuidance", summary="The prediction as it is: one pass.")
    yield part(
        "cfg",
        "harmony_parts.guidance.cfg:CFG",
        summary="Away from the prediction without text, with a scale per stream.",
        source="arXiv:2207.12598",
    )
    yield part(
        "sync-cfg",
        "harmony_parts.guidance.sync_cfg:SyncCFG",
        summary="Away from the prediction for a mute sound or a static video: strengthens what the streams say to each other.",
        source="arXiv:2511.21579",
    )
    yield part("sum", "harmony_parts.guidance.sum:Sum", summary="Adds up what several guidances add to the prediction.")
