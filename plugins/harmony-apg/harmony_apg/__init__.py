"""Adaptive projected guidance for harmony_parts."""

from harmony_parts.plugin import hookimpl, part


@hookimpl
def harmony_guidance():
    """One guidance."""
    yield part(
        "apg",
        "harmony_apg.apg:APG",
        summary=(
            "Away from the prediction without text, but not along the prediction itself, not too"
            " far, and less where it went before."
        ),
        source="arXiv:2410.02416",
    )
