"""Which backend is used, and which of those in the box can run on this machine."""

from __future__ import annotations

RULE = (
    "Local attention runs on the backend that the recipe names (interaction.attention), eager where"
    " it names none. Nothing chooses another by device or size: a backend that can't run says so"
    " and stops."
)


def backends() -> dict[str, str]:
    """What stands in the way of each on this machine: name -> the reason, empty where it can
    run.
    """
    return {"reference": "", "eager": "", "triton": _triton()}


def _triton() -> str:
    import torch

    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"Triton can't be imported: {error}"
    return "" if torch.cuda.is_available() else "there is no CUDA device"
