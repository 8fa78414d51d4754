"""Write the pages that are generated from the code: `python docs/generate.py [FOLDER]`.

FOLDER is docs/ by default. The pages are committed; tests/docs/test_pages.py fails if they are out
of date. They cover only the built-in parts, even if plugins are installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from generator.api_page import api_page
from generator.cli_page import cli_page
from generator.decisions_page import decisions_page
from generator.parts_page import parts_page
from generator.recipes_page import recipes_page
from generator.results_page import results_page
from generator.sizes import sizes
from generator.surface import surface

from harmony_parts.assembly.catalogue import Catalogue

DOCS = Path(__file__).parent


def pages() -> dict[str, str]:
    """Path in docs/ -> text of every generated page."""
    parts = Catalogue.discover(only=())
    return {
        "reference/parts.md": parts_page(parts),
        "reference/api.md": api_page(),
        "reference/recipes.md": recipes_page(),
        "reference/surface.txt": surface(),
        "reference/cli.md": cli_page(),
        "reference/results.md": results_page(DOCS / "results"),
        "reference/sizes.txt": sizes(parts),
        "decisions/index.md": decisions_page(DOCS / "decisions"),
    }


def main(folder: Path) -> None:
    """Write every page into a folder."""
    for file, text in pages().items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
