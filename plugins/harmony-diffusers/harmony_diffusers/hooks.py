"""The plugin's declarations; importing them loads neither torch nor diffusers."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_video_codec() -> Iterator[PartDeclaration]:
    """Wan's and HunyuanVideo's autoencoders."""
    yield part(
        "wan-vae",
        "harmony_diffusers.wan_vae:WanVAE",
        summary="The causal video autoencoder of Wan2.2 (or of Wan2.1).",
        source="Wan, arXiv:2503.20314",
    )
    yield part(
        "hunyuan-vae",
        "harmony_diffusers.hunyuan_vae:HunyuanVAE",
        summary="The causal video autoencoder of HunyuanVideo, as in Kandinsky 6.",
        source="HunyuanVideo, arXiv:2412.03603",
    )


@hookimpl
def harmony_audio_codec() -> Iterator[PartDeclaration]:
    """MMAudio's and LTX-2's autoencoders, each with its vocoder."""
    yield part(
        "mmaudio-vae",
        "harmony_diffusers.mmaudio_vae:MMAudio",
        summary="The mel autoencoder of MMAudio with its vocoder, at 16 or 44.1 kHz.",
        source="MMAudio, arXiv:2412.15322",
    )
    yield part(
        "ltx2-audio",
        "harmony_diffusers.ltx2_audio:LTX2Audio",
        summary="The causal mel autoencoder of LTX-2 with its vocoder.",
        source="LTX-2, arXiv:2601.03233",
    )


@hookimpl
def harmony_encoder() -> Iterator[PartDeclaration]:
    """UMT5."""
    yield part(
        "umt5",
        "harmony_diffusers.umt5:UMT5",
        summary=(
            "Texts encoded by a frozen UMT5, as in Wan and Ovi; one model for several conditions."
        ),
        source="UniMax, arXiv:2304.09151",
    )


@hookimpl
def harmony_shift() -> Iterator[PartDeclaration]:
    """The times of diffusers' scheduler."""
    yield part(
        "flow-match",
        "harmony_diffusers.flow_match:FlowMatchShift",
        summary="The sampling times of diffusers' FlowMatchEulerDiscreteScheduler.",
        source="diffusers",
    )
