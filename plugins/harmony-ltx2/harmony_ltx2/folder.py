"""LTX-2 as a model folder for `harmony generate`, without weights: `python -m harmony_ltx2.folder
FOLDER`.

The folder holds the recipe and an empty file of weights; all of LTX-2's come from where the recipe
says, when the model is loaded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harmony_ltx2.recipe import ltx2_recipe
from harmony_parts.errors import HarmonyError
from harmony_parts.models.folder import save_model


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m harmony_ltx2.folder", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("folder", type=Path, help="where to write it")
    add_recipe_options(parser)
    given = parser.parse_args()
    try:
        save_model(
            given.folder,
            ltx2_recipe(given.model, given.overrides),
            {},
            note="none here; all weights are loaded from where the recipe says",
        )
        print(f"harmony generate {given.folder} --prompt '...' --out clip.mp4")
    except HarmonyError as error:
        raise SystemExit(f"{error}") from None


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """Which weights, and what of the recipe to change."""
    parser.add_argument(
        "--model",
        default="",
        help="a folder in diffusers' layout, or a name on the Hub (default: Lightricks/LTX-2)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the recipe; may be repeated",
    )


if __name__ == "__main__":
    main()
