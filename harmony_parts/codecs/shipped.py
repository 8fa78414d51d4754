"""The files of the models that ship with the library, which recipes name without their folder."""

from __future__ import annotations

from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "shipped"
"""The folder with a folder for each model in the package."""


def weights_file(weights: str) -> Path:
    """The file of weights that a setting names.

    That is a path; or, if there is no such file, MODEL/FILE of a model that ships with the library,
    such as harmony-tiny/codec-video.safetensors.
    """
    named = Path(weights).expanduser()
    shipped = SHIPPED / weights
    return shipped if weights and not named.is_file() and shipped.is_file() else named
