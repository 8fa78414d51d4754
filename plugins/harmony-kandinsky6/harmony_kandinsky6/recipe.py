"""The recipe of the published Kandinsky 6."""

from __future__ import annotations

from pathlib import Path

from harmony_diffusers.published import Published

RECIPE = Path(__file__).parent / "kandinsky6.toml"
KANDINSKY6 = Published(RECIPE, home="none: name one")

kandinsky6_recipe = KANDINSKY6.recipe
"""The recipe `kandinsky6.toml`; see `Published.recipe`."""
