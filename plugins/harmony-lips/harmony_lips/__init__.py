"""Lip sync and motion by optical flow, for harmony_parts."""

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_metric() -> Iterator[PartDeclaration]:
    """Declare the metrics."""
    yield part(
        "lips",
        "harmony_lips.lips:Lips",
        summary=(
            "Lip sync of talking faces: opening velocity of the mouth against the rise of the"
            " speech band; its correlation, offset and confidence, or why it can't tell."
        ),
        source="this project",
    )
    yield part(
        "flow-motion",
        "harmony_lips.motion:FlowMotion",
        summary="How much the picture moves, and how evenly, by optical flow.",
        source="this project",
    )
