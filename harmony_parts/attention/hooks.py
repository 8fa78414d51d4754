"""Declares the built-in attention backends."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_attention() -> Iterator[PartDeclaration]:
    """Declare the attention backends."""
    yield part(
        "reference",
        "harmony_parts.attention.reference:Reference",
        summary="Dense scores and a mask: the definition; fastest for toy shapes.",
        source="arXiv:2511.21579, section 3.2",
    )
    yield part(
        "eager",
        "harmony_parts.attention.eager:Eager",
        summary="Gathers each window in plain PyTorch; cost grows with the windows.",
        source="this project",
    )
    yield part(
        "triton",
        "harmony_parts.attention.triton:Triton",
        summary=(
            "Triton kernels for CUDA devices: reads the video once, in both directions. Not yet run"
            " on a GPU."
        ),
        source="this project",
    )
