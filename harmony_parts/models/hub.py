"""Finding a model by its name: a folder, a model that ships, or one on the Hugging Face Hub."""

from __future__ import annotations

import importlib
import re
import warnings
from pathlib import Path

from harmony_parts.errors import RunError, nearest
from harmony_parts.models.shipped import local_model, shipped_models

HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>.+))?")
# files that are fetched from the Hub: nothing that could be code
PATTERNS = ("*.toml", "*.safetensors", "*.json", "*.md")


def locate_model(name: str | Path) -> Path:
    """The folder of a model: `name` itself, one that ships with the library, or one of the Hub.

    The Hub's "owner/name" or "owner/name@revision" is fetched into its cache. A folder that hides a
    model that ships gets a warning.

    Only recipes, weights, JSON and model cards are fetched. Raises RunError if there is no such
    folder and the Hub doesn't have the model, can't be reached, or huggingface_hub isn't installed.
    """
    match = HUB.fullmatch(str(name))
    folder = local_model(name)
    if name in shipped_models() and folder == Path(name):
        warnings.warn(
            f"{name}: this is the folder of that name here, not the model that ships with the"
            f" library; ./{name} says so without this warning",
            stacklevel=2,
        )
    if folder.exists():
        return folder
    if match is None:
        if near := nearest(str(name), shipped_models()):
            raise RunError(f"{name}: no such folder{near}")
        return folder
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise RunError(
            f"{name}: no such folder; to fetch models from the Hugging Face Hub, pip install"
            " huggingface_hub"
        ) from error
    try:
        return Path(
            hub.snapshot_download(
                match["name"], revision=match["revision"], allow_patterns=list(PATTERNS)
            )
        )
    # unknown names, and a Hub that can't be reached
    except (OSError, ValueError) as error:
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunError(
            f"{name}: no such folder, and it can't be fetched from the Hugging Face Hub: {cause}"
        ) from error
