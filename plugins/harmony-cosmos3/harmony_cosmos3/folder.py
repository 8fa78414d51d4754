"""A model folder of Cosmos3-Omni for `harmony generate`: `python -m harmony_cosmos3.folder C3`.

It has the recipe and an empty file of weights; the weights are loaded with the model, from where
the recipe says.
"""

from __future__ import annotations

from harmony_cosmos3.recipe import COSMOS3


def main() -> None:
    """The command line."""
    COSMOS3.command("python -m harmony_cosmos3.folder", (__doc__ or "").partition(":")[0])


if __name__ == "__main__":
    main()
