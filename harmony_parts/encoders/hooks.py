"""Declarations of the built-in encoders."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_encoder() -> Iterator[PartDeclaration]:
    """Text, transcript, image and voice."""
    yield part(
        "bytes",
        "harmony_parts.encoders.byte_text:ByteText",
        summary="A caption of the picture or of the sound, byte by byte; trained with the model.",
    )
    yield part(
        "words",
        "harmony_parts.encoders.word_text:WordText",
        summary="A caption of the picture or of the sound, word by word; trained with the model.",
    )
    yield part(
        "transcript",
        "harmony_parts.encoders.transcript:Transcript",
        summary="Spoken words, by ConvNeXt V2 blocks over bytes, or characters and pinyin.",
        source="F5-TTS, arXiv:2410.06885",
    )
    yield part(
        "reference-image",
        "harmony_parts.encoders.reference_image:ReferenceImage",
        summary="The image that the clip begins with, as latents of the video codec.",
        source="Harmony, arXiv:2511.21579",
    )
    yield part(
        "reference-audio",
        "harmony_parts.encoders.reference_audio:ReferenceAudio",
        summary="A voice or sound whose timbre the clip takes, as latents of the audio codec.",
        source="Harmony, arXiv:2511.21579",
    )
