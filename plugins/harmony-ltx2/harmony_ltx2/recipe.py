"""The recipe of the published LTX-2."""

from __future__ import annotations

from pathlib import Path

from harmony_diffusers.published import Published

RECIPE = Path(__file__).parent / "ltx2.toml"
LTX2 = Published(RECIPE, home="Lightricks/LTX-2")

ltx2_recipe = LTX2.recipe
"""The recipe `ltx2.toml`; see `Published.recipe`."""
