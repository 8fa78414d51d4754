"""Adaptive projected guidance for harmony_parts."""

from harmony_parts.plugin import hookimpl, part


@hookimpl
def harmony_guidance():
    """Declare the guidance."""
    yield part(
        "apg",
        "harmony_apg.apg:APG",
        summary=(
            "Guidance by text whose difference is projected orthogonally to the estimate, bounded"
            " in norm and given momentum."
        ),
        source="arXiv:2410.02416",
    )
