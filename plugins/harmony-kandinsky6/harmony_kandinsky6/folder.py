"""A model folder of Kandinsky 6 for `harmony generate`: `python -m harmony_kandinsky6.folder K6`.

It has the recipe and an empty file of weights; the weights are loaded with the model, from where
the recipe says.
"""

from __future__ import annotations

from harmony_kandinsky6.recipe import KANDINSKY6


def main() -> None:
    """The command line."""
    KANDINSKY6.command("python -m harmony_kandinsky6.folder", (__doc__ or "").partition(":")[0])


if __name__ == "__main__":
    main()
