"""Declares the built-in denoisers."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_denoiser() -> Iterator[PartDeclaration]:
    """Declare the denoisers."""
    yield part(
        "dual-branch",
        "harmony_parts.denoisers.dual_branch:DualBranch",
        summary=(
            "Two branches of the same depth, one layer of each and an interaction per joint block."
        ),
        source="arXiv:2511.21579, figure 2",
    )
    yield part(
        "video-only",
        "harmony_parts.denoisers.single_branch:VideoOnly",
        summary="Only the video branch: plain Wan2.2.",
        source="Wan2.2-TI2V-5B",
    )
    yield part(
        "audio-only",
        "harmony_parts.denoisers.single_branch:AudioOnly",
        summary="Only the audio branch, as in the first two stages of training.",
        source="arXiv:2511.21579, section 4.1",
    )
