"""Declares the built-in branches."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_video_branch() -> Iterator[PartDeclaration]:
    """Declare the video branches."""
    yield part(
        "transformer",
        "harmony_parts.branches.video_transformer:VideoTransformer",
        summary=(
            "The Wan2.2-TI2V transformer at any size: 3-D RoPE, text by cross-attention, per-latent"
            " times."
        ),
        source="Wan2.2-TI2V-5B",
    )


@hookimpl
def harmony_audio_branch() -> Iterator[PartDeclaration]:
    """Declare the audio branches."""
    yield part(
        "mmdit",
        "harmony_parts.branches.mmdit:MMDiT",
        summary="MM-DiT over [reference; target; speech; prompt] with one set of weights.",
        source="arXiv:2511.21579, section 3.1",
    )
    yield part(
        "cross",
        "harmony_parts.branches.cross_audio:CrossAudio",
        summary=(
            "Ovi's: text by cross-attention, latents embedded by convolutions, positions on the"
            " video's time line; no reference audio."
        ),
        source="Ovi, arXiv:2510.01284",
    )
