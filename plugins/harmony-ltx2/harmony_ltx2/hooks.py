"""The plugin's declarations; importing them loads neither torch nor diffusers."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part

SOURCE = "LTX-2, arXiv:2601.03233"


@hookimpl
def harmony_denoiser() -> Iterator[PartDeclaration]:
    """LTX-2's transformer."""
    yield part(
        "ltx2",
        "harmony_ltx2.denoiser:LTX2",
        summary="The frozen transformer of LTX-2 over both streams, each at its own time.",
        source=SOURCE,
    )


@hookimpl
def harmony_video_codec() -> Iterator[PartDeclaration]:
    """LTX-2's video autoencoder; its audio codec is `ltx2-audio` of harmony-diffusers."""
    yield part(
        "ltx2-video",
        "harmony_ltx2.video:LTX2Video",
        summary="The causal video autoencoder of LTX-2.",
        source=SOURCE,
    )


@hookimpl
def harmony_encoder() -> Iterator[PartDeclaration]:
    """Gemma 3 with LTX-2's connectors."""
    yield part(
        "ltx2-text",
        "harmony_ltx2.text:LTX2Text",
        summary="A text encoded by a frozen Gemma 3 and LTX-2's connectors, for each stream.",
        source=SOURCE,
    )


@hookimpl
def harmony_shift() -> Iterator[PartDeclaration]:
    """LTX-2's sampling times."""
    yield part(
        "ltx2",
        "harmony_ltx2.shift:LTX2Shift",
        summary=(
            "The sampling times of LTX-2: shifted towards noise by the video's size, the last step"
            " from 0.1."
        ),
        source=SOURCE,
    )
