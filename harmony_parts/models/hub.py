"""Models on the Hugging Face Hub, in its cache."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_parts.errors import RunError

if TYPE_CHECKING:
    pass


HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>.+))?")
# of a repository on the Hub: nothing that could be code
WANTED = ("*.toml", "*.safetensors", "*.json", "*.md")


def locate_model(name: str | Path) -> Path:
    """The folder of that name, else a model's repository on the Hugging Face Hub, "owner/name" or
    "owner/name@revision", in its cache.

    Nothing but recipes, weights, JSON and cards is fetched. Raises RunError where there is no such
    folder and the Hub hasn't it, can't be reached, or huggingface_hub isn't installed.
    """
    match = HUB.fullmatch(str(name))
    if Path(name).exists() or match is None:
        return Path(name)
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise RunError(
            f"{name}: no such folder; for models on the Hugging Face Hub: pip install"
            " huggingface_hub"
        ) from error
    try:
        return Path(
            hub.snapshot_download(
                match["name"], revision=match["revision"], allow_patterns=list(WANTED)
            )
        )
    # what it raises for a name that isn't there, and where it can't be reached
    except (OSError, ValueError) as error:
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunError(
            f"{name}: no such folder, and as a name on the Hugging Face Hub it can't be had:"
            f" {cause}"
        ) from error
