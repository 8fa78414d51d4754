"""Which backend is used, and which built-in ones can run on this machine."""

from __future__ import annotations

RULE = (
    "Local attention runs on the backend that the recipe names (interaction.attention), by default"
    " eager. No other one is ever chosen by device or size: a backend that can't run raises an"
    " error."
)


def backends() -> dict[str, str]:
    """Backend -> why it can't run on this machine; empty if it can."""
    return {"reference": "", "eager": "", "triton": _triton()}


def _triton() -> str:
    import torch

    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"Triton can't be imported: {error}"
    return "" if torch.cuda.is_available() else "there is no CUDA device"
