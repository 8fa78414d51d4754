"""The plugin's declarations; importing them loads neither torch nor diffusers."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part

SOURCE = "Kandinsky 6, through diffusers' Kandinsky6TI2VAPipeline"


@hookimpl
def harmony_denoiser() -> Iterator[PartDeclaration]:
    """Kandinsky 6's transformer."""
    yield part(
        "kandinsky6",
        "harmony_kandinsky6.denoiser:Kandinsky6",
        summary="The frozen transformer of Kandinsky 6 over both streams, each at its own time.",
        source=SOURCE,
    )


@hookimpl
def harmony_encoder() -> Iterator[PartDeclaration]:
    """Qwen2.5-VL's tokens and CLIP's pooled text."""
    yield part(
        "kandinsky6-text",
        "harmony_kandinsky6.text:Kandinsky6Text",
        summary="A text encoded by a frozen Qwen2.5-VL and a frozen CLIP, for both streams.",
        source=SOURCE,
    )
