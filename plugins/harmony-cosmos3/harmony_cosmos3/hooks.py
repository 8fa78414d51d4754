"""The plugin's declarations; importing them loads neither torch nor diffusers."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part

SOURCE = "Cosmos3-Omni, through diffusers' Cosmos3OmniPipeline"


@hookimpl
def harmony_denoiser() -> Iterator[PartDeclaration]:
    """Cosmos3-Omni's transformer."""
    yield part(
        "cosmos3",
        "harmony_cosmos3.denoiser:Cosmos3",
        summary="The frozen transformer of Cosmos3-Omni over both streams, a time for each latent.",
        source=SOURCE,
    )


@hookimpl
def harmony_audio_codec() -> Iterator[PartDeclaration]:
    """Its autoencoder of sound."""
    yield part(
        "cosmos3-audio",
        "harmony_cosmos3.audio:Cosmos3Audio",
        summary="The autoencoder of Cosmos3-Omni over stereo waveforms at 48 kHz.",
        source=SOURCE,
    )


@hookimpl
def harmony_encoder() -> Iterator[PartDeclaration]:
    """Its tokenizer: the transformer itself reads the text."""
    yield part(
        "cosmos3-text",
        "harmony_cosmos3.text:Cosmos3Text",
        summary="The numbers of a text's tokens, which the transformer of Cosmos3-Omni reads.",
        source=SOURCE,
    )
