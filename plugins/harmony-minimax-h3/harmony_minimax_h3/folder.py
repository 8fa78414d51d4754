"""A model folder of MiniMax-H3 for `harmony generate`: `python -m harmony_minimax_h3.folder H3`.

It has the recipe and an empty file of weights; the weights are loaded with the model, from where
the recipe says.
"""

from __future__ import annotations

from harmony_minimax_h3.recipe import MINIMAX_H3


def main() -> None:
    """The command line."""
    MINIMAX_H3.command("python -m harmony_minimax_h3.folder", (__doc__ or "").partition(":")[0])


if __name__ == "__main__":
    main()
