"""Lip sync for harmony_parts."""

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_metric() -> Iterator[PartDeclaration]:
    """Declare the metric."""
    yield part(
        "lips",
        "harmony_lips.lips:Lips",
        summary=(
            "Lip sync of talking faces: opening velocity of the mouth against the rise of the"
            " speech band; its correlation, offset and confidence, or why it can't tell."
        ),
        source="this project",
    )
