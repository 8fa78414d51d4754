"""What is in a folder that diffusers saved a pipeline in, by its index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

FILES = ("model_index.json", "modular_model_index.json")
"""The index of a pipeline, and that of a modular one."""


@attrs.frozen
class ModelIndex:
    """The pipeline of a folder, and its components: name -> class, "" for one that is absent."""

    file: str
    pipeline: str
    components: Mapping[str, str]

    @classmethod
    def read(cls, file: str, table: Mapping[str, Any]) -> ModelIndex:
        """The index from its JSON; a modular one has a table more for each component."""
        return cls(
            file,
            str(table.get("_class_name", "unknown pipeline")),
            {
                name: str(value[1] or "")
                for name, value in table.items()
                if isinstance(value, list) and len(value) in (2, 3)
            },
        )

    def subfolder(self, asked: str, cls: str) -> str:
        """The folder of the component: `asked`, or the only one of class `cls` if that isn't there.

        Raises ValueError, with what there is instead, if there is none.
        """
        found = self.components.get(asked, "")
        if found:
            return asked
        of_class = [name for name, each in self.components.items() if each == cls]
        if len(of_class) == 1:
            return of_class[0]
        listed = ", ".join(f"{name} ({each})" for name, each in self.components.items() if each)
        raise ValueError(
            f"it is the folder of a {self.pipeline}, whose {self.file} has no {asked!r}"
            f"{f', and {len(of_class)} of class {cls}' if of_class else ''}; it has"
            f" {listed or 'nothing'}"
        )


def model_index(model: str, revision: str = "") -> ModelIndex | None:
    """The index of a folder or of a repository on the Hub; None if there is none in it, or the Hub
    can't be reached. Raises ValueError if it isn't JSON.
    """
    folder = Path(model).expanduser()
    for name in FILES:
        file = folder / name if folder.is_dir() else _fetched(model, name, revision)
        if file is None or not file.is_file():
            continue
        try:
            table = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"its {name} isn't JSON: {error}") from error
        return ModelIndex.read(name, table if isinstance(table, Mapping) else {})
    return None


def _fetched(model: str, name: str, revision: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(model, name, revision=revision or None))
    except (OSError, HfHubHTTPError, HFValidationError):  # loading the component tells why
        return None
