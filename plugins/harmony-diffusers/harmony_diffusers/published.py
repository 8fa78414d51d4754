"""A model that others have published as one folder: its recipe, and a model folder without weights.

A plugin ships a recipe; all its parts take their weights from one folder in diffusers' layout, or
from one repository on the Hub, which the recipe names once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import attrs
import torch

from harmony_parts import StreamShifts
from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import HarmonyError
from harmony_parts.models.external_weights import identify_model
from harmony_parts.models.folder import save_model


@attrs.frozen
class Published:
    """A recipe in `file`, whose table `[published]` names the model; `home` says which by default.

    All parts that have weights take them from there (`harmony_parts.assembly.published`), and what
    its scheduler says of times, too.
    """

    file: Path
    home: str

    def recipe(self, model: str = "", overrides: Sequence[str] = (), revision: str = "") -> Recipe:
        """The recipe, with all weights from `model`, a folder or a name on the Hub.

        `overrides` such as "sample.steps=10" come last. Raises AssemblyError for a wrong one.
        """
        named = {"model": model, "revision": revision}
        own = [f"published.{name}={json.dumps(value)}" for name, value in named.items() if value]
        return read_recipe(self.file, [*own, *overrides])

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
            recipe = self.recipe(given.model, given.overrides, given.revision)
            shift = recipe.sample.shift
            for each in (shift.video, shift.audio) if isinstance(shift, StreamShifts) else (shift,):
                each(torch.zeros(1))  # refuses a scheduler of other times
            source = _identity(given.model or self.home, given.revision)
            note = f"none; all weights are loaded from {source}"
            save_model(given.folder, recipe, {}, note=note)
        except (HarmonyError, ValueError) as error:
            raise SystemExit(f"{error}") from None
        print(f"harmony generate {given.folder} --prompt '...' --out clip.mp4")


def _identity(model: str, revision: str) -> str:
    """The model, with the digest of its files if it is a folder, else with its commit."""
    known = identify_model(model, revision)
    said = ", ".join(f"{name} {known[name]}" for name in ("digest", "commit") if name in known)
    return f"{model} ({said})" if said else model
