"""A model that others have published as one folder: its recipe, and a model folder without weights.

A plugin ships a recipe; all its parts take their weights from one folder in diffusers' layout, or
from one repository on the Hub.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import HarmonyError
from harmony_parts.models.folder import save_model


def _nothing(model: str, revision: str) -> Sequence[str]:
    return ()


@attrs.frozen
class Published:
    """A recipe in `file`, the `places` in it that name the model, and where its weights are.

    `settings(model, revision)` gives overrides that the model's own files ask for, such as its
    scheduler's shift; it may raise ValueError. `home` says where weights come from by default.
    """

    file: Path
    places: tuple[str, ...]
    home: str
    settings: Callable[[str, str], Sequence[str]] = _nothing

    def recipe(self, model: str = "", overrides: Sequence[str] = (), revision: str = "") -> Recipe:
        """The recipe, with all weights from `model`, a folder or a name on the Hub.

        `overrides` such as "sample.steps=10" come last. Raises AssemblyError for a wrong one,
        ValueError if the model's files can't be read.
        """
        named = {"model": model, "revision": revision}
        own = self.settings(model, revision) if model else ()
        return read_recipe(
            self.file,
            [
                *(
                    f"{place}.{name}={json.dumps(value, ensure_ascii=False)}"
                    for place in self.places
                    for name, value in named.items()
                    if value
                ),
                *own,
                *overrides,
            ],
        )

    def command(self, prog: str, about: str) -> None:
        """Write the model folder that the command line names; it holds no weights."""
        parser = argparse.ArgumentParser(prog=prog, description=about)
        parser.add_argument("folder", type=Path, help="folder to write")
        parser.add_argument(
            "--model",
            default="",
            help=f"a folder in diffusers' layout, or a name on the Hub (default: {self.home})",
        )
        parser.add_argument(
            "--revision", default="", help="branch, tag or commit of the repository on the Hub"
        )
        parser.add_argument(
            "--set",
            dest="overrides",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="change a setting of the recipe; may be repeated",
        )
        given = parser.parse_args()
        try:
            save_model(
                given.folder,
                self.recipe(given.model, given.overrides, given.revision),
                {},
                note="none; all weights are loaded from the models that the recipe names",
            )
        except (HarmonyError, ValueError) as error:
            raise SystemExit(f"{error}") from None
        print(f"harmony generate {given.folder} --prompt '...' --out clip.mp4")
