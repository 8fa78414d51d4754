"""The built-in anchors."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part

PAPER = "arXiv:2511.21579"


@hookimpl
def harmony_anchor() -> Iterator[PartDeclaration]:
    """Mute sound and a static video."""
    yield part(
        "mute",
        "harmony_parts.anchors.mute:MuteAudio",
        summary="The codec's latents of silence.",
        source=PAPER,
    )
    yield part(
        "refresh",
        "harmony_parts.anchors.refresh:Refresh",
        summary="An approximation: another anchor, made only at every k-th step.",
        source="this project",
    )
    yield part(
        "static",
        "harmony_parts.anchors.static:StaticVideo",
        summary=(
            "The codec's latents of one repeated picture: the reference image, or else the first"
            " frame of the current estimate."
        ),
        source=PAPER,
    )
