"""The recipe of the published Cosmos3-Omni."""

from __future__ import annotations

from pathlib import Path

from harmony_diffusers.published import Published

RECIPE = Path(__file__).parent / "cosmos3.toml"
COSMOS3 = Published(RECIPE, home="none: name one")

cosmos3_recipe = COSMOS3.recipe
"""The recipe `cosmos3.toml`; see `Published.recipe`."""
