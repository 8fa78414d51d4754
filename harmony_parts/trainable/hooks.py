"""The built-in choices of what is trained."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_trainable() -> Iterator[PartDeclaration]:
    """All weights, those of chosen modules, or adapters."""
    yield part(
        "all",
        "harmony_parts.trainable.everything:Everything",
        summary="All weights except those of frozen encoders.",
    )
    yield part(
        "branch",
        "harmony_parts.trainable.branch:Branch",
        summary="Only chosen modules, such as the audio branch and the interaction.",
    )
    yield part(
        "lora",
        "harmony_parts.trainable.lora:LoRA",
        summary="Low-rank adapters of chosen linear layers, saved alone.",
        source="arXiv:2106.09685",
    )
