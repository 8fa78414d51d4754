"""An attention plugin: local attention in a higher precision than the model's."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_attention() -> Iterator[PartDeclaration]:
    """Declare the backend."""
    yield part(
        "upcast",
        "harmony_upcast.upcast:Upcast",
        summary=(
            "Runs another backend in a higher precision than its inputs', to measure the error of"
            " attention."
        ),
    )
