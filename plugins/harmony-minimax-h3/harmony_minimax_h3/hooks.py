"""The plugin's declarations; importing them loads neither torch nor diffusers."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part

SOURCE = "MiniMax-H3, through diffusers' MiniMaxH3ModularPipeline"


@hookimpl
def harmony_denoiser() -> Iterator[PartDeclaration]:
    """MiniMax-H3's transformer."""
    yield part(
        "minimax-h3",
        "harmony_minimax_h3.denoiser:MiniMaxH3",
        summary="The frozen transformer of MiniMax-H3 over both streams, a time for each latent.",
        source=SOURCE,
    )


@hookimpl
def harmony_video_codec() -> Iterator[PartDeclaration]:
    """Its autoencoder of video."""
    yield part(
        "minimax-h3-video",
        "harmony_minimax_h3.video:MiniMaxH3Video",
        summary="The autoencoder of MiniMax-H3 over video: pieces of 17 frames, 5 latents each.",
        source=SOURCE,
    )


@hookimpl
def harmony_audio_codec() -> Iterator[PartDeclaration]:
    """Its autoencoder of sound."""
    yield part(
        "minimax-h3-audio",
        "harmony_minimax_h3.audio:MiniMaxH3Audio",
        summary="The autoencoder of MiniMax-H3 over each side of a stereo sound at 32 kHz.",
        source=SOURCE,
    )


@hookimpl
def harmony_encoder() -> Iterator[PartDeclaration]:
    """The states of Qwen3-VL's 50th layer."""
    yield part(
        "minimax-h3-text",
        "harmony_minimax_h3.text:MiniMaxH3Text",
        summary="A text encoded by the first 50 layers of a frozen Qwen3-VL, for both streams.",
        source=SOURCE,
    )
