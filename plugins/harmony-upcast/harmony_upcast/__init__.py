"""An attention plugin: local attention in a wider type than the model's."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_attention() -> Iterator[PartDeclaration]:
    """Declare it."""
    yield part(
        "upcast",
        "harmony_upcast.upcast:Upcast",
        summary=(
            "Another backend in a wider type than its inputs', to see what of an error comes from"
            " attention."
        ),
    )
