"""CFG-Zero* for harmony_parts."""

from harmony_parts.plugin import hookimpl, part


@hookimpl
def harmony_guidance():
    """One guidance."""
    yield part(
        "cfg-zero",
        "harmony_cfg_zero.cfg_zero:CFGZero",
        summary=(
            "Away from the prediction without text, brought to the length that fits best; and no"
            " move at all in the first step."
        ),
        source="arXiv:2503.18886",
    )
