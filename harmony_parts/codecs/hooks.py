"""Declarations of the built-in codecs."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_video_codec() -> Iterator[PartDeclaration]:
    yield part(
        "dct",
        "harmony_parts.codecs.dct:DCTVideo",
        summary=(
            "Lapped cosine transforms in colour, space and time, reduced to a fixed set of"
            " coefficients. No weights."
        ),
        source="doi:10.1109/TSP.2003.811222",
    )
    yield part(
        "conv-video",
        "harmony_parts.codecs.conv_video:ConvVideo",
        summary=(
            "A small learned autoencoder, causal in time, 16 numbers for 4 frames of 8 x 8 pixels;"
            " trained by `harmony train-codec`."
        ),
    )


@hookimpl
def harmony_audio_codec() -> Iterator[PartDeclaration]:
    yield part(
        "log-mel",
        "harmony_parts.codecs.logmel:LogMel",
        summary=(
            "Log energies in mel bands, several to a latent for fine onsets; decoded by phase"
            " reconstruction. No weights."
        ),
        source="doi:10.1109/WASPAA.2013.6701851",
    )
