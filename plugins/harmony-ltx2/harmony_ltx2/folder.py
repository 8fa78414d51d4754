"""A model folder of LTX-2 for `harmony generate`: `python -m harmony_ltx2.folder FOLDER`.

It has the recipe and an empty file of weights; LTX-2's weights are loaded with the model, from
where the recipe says.
"""

from __future__ import annotations

from harmony_ltx2.recipe import LTX2


def main() -> None:
    """The command line."""
    LTX2.command("python -m harmony_ltx2.folder", (__doc__ or "").partition(":")[0])


if __name__ == "__main__":
    main()
