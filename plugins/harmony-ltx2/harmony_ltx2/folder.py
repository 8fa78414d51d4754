"""A model folder of LTX-2 for `harmony generate`: `python -m harmony_ltx2.folder FOLDER`.

It has the recipe and an empty file of weights; LTX-2's weights are loaded with the model, from
where the recipe says.
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
    parser.add_argument("folder", type=Path, help="folder to write")
    add_recipe_options(parser)
    given = parser.parse_args()
    try:
        save_model(
            given.folder,
            ltx2_recipe(given.model, given.overrides),
            {},
            note="none; all weights are loaded from the models that the recipe names",
        )
        print(f"harmony generate {given.folder} --prompt '...' --out clip.mp4")
    except HarmonyError as error:
        raise SystemExit(f"{error}") from None


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for weights and overrides of the recipe."""
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
