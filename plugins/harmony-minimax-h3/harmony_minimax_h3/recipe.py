"""The recipe of the published MiniMax-H3."""

from __future__ import annotations

from pathlib import Path

from harmony_diffusers.published import Published

RECIPE = Path(__file__).parent / "minimax-h3.toml"
MINIMAX_H3 = Published(RECIPE, home="none: name one")

minimax_h3_recipe = MINIMAX_H3.recipe
"""The recipe `minimax-h3.toml`; see `Published.recipe`."""
