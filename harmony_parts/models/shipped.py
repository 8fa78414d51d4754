"""The models that ship with the library. Importing this module imports no torch."""

from __future__ import annotations

from pathlib import Path

import harmony_parts.codecs.shipped as package
from harmony_parts.assembly.read import RECIPE


def shipped_models() -> dict[str, Path]:
    """Name -> folder of the models in the package."""
    folder = package.SHIPPED
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {each.name: each for each in found if (each / RECIPE).is_file()}


def local_model(name: str | Path) -> Path:
    """The folder of that name, or that of the model of that name that ships with the library.

    A folder that lies here and has a recipe, as models and runs have, comes before a model that
    ships. A Path, and a name with a slash such as "./harmony-tiny", is always the folder.
    """
    folder = Path(name)
    shipped = shipped_models().get(name) if isinstance(name, str) else None
    if shipped is None or any((place / RECIPE).is_file() for place in (folder, folder / "model")):
        return folder
    return shipped
