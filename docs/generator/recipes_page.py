"""reference/recipes.md: the recipes that ship with the library."""

from __future__ import annotations

import tomllib

from generator.markdown import NOTE, table
from harmony_parts.assembly.read import shipped_recipes


def recipes_page() -> str:
    """The page. Recipes are read as text: some need parts of plugins."""
    summaries = {
        shipped: tomllib.loads(file.read_text(encoding="utf-8"))["summary"]
        for shipped, file in shipped_recipes().items()
    }
    lines = [
        "# Recipes\n",
        "A recipe holds all settings of a model, its training and its sampling. These recipes ship"
        " with the library:\n",
        *table(
            ["recipe", "model"],
            ([f"[{shipped}](#{slug(shipped)})", summary] for shipped, summary in summaries.items()),
        ),
        "`harmony explain RECIPE` shows the model that a recipe makes; `harmony explain RECIPE"
        " --toml` prints the recipe with every default.",
    ]
    for shipped, summary in summaries.items():
        lines += [
            f"\n## {shipped} {{ #{slug(shipped)} }}\n",
            f"{summary}\n",
            f'```toml\n--8<-- "harmony_parts/recipes/{shipped}.toml"\n```\n',
        ]
    return NOTE + "\n".join(lines) + "\n"


def slug(shipped: str) -> str:
    """The anchor of a recipe."""
    return shipped.replace("/", "-")
