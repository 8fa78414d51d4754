"""The recipe of the published LTX-2."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe

RECIPE = Path(__file__).parent / "ltx2.toml"
PLACES = ("codecs.video", "codecs.audio", "encoders.text", "denoiser")


def ltx2_recipe(model: str = "", overrides: Sequence[str] = ()) -> Recipe:
    """The recipe `ltx2.toml` with `overrides`.

    All weights are from `model`, a folder or a name on the Hub (empty: Lightricks/LTX-2).
    """
    quoted = json.dumps(model, ensure_ascii=False)
    return read_recipe(
        RECIPE, [*(f"{place}.model={quoted}" for place in PLACES if model), *overrides]
    )
