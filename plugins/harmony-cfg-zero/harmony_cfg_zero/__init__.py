"""CFG-Zero* for harmony_parts."""

from harmony_parts.plugin import hookimpl, part


@hookimpl
def harmony_guidance():
    """Declare the guidance."""
    yield part(
        "cfg-zero",
        "harmony_cfg_zero.cfg_zero:CFGZero",
        summary=(
            "Guidance by text with an optimally scaled negative prediction, and a zero velocity in"
            " the first step."
        ),
        source="arXiv:2503.18886",
    )
