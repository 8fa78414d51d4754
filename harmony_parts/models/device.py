"""The device that a model is on."""

from __future__ import annotations

import torch

from harmony_parts.errors import RunError


def usable_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; by default the GPU, if there is one.

    Raises RunError, with torch's reason, if it can't be used here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).splitlines()[0]
        raise RunError(
            f"the device {str(name)!r} can't be used: {why}. `harmony doctor` checks the GPU"
        ) from error
    return torch.device(name)
