"""Autoguidance for harmony_parts."""

from harmony_parts.plugin import hookimpl, part


@hookimpl
def harmony_guidance():
    """Declare the guidance."""
    yield part(
        "autoguidance",
        "harmony_autoguidance.autoguidance:Autoguidance",
        summary="Guidance away from the prediction of a weaker version of the model.",
        source="arXiv:2406.02507",
    )
