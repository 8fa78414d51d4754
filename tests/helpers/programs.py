"""The environment of a program that a test starts."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(*first: Path, **variables: str) -> dict[str, str]:
    """This process's, with the folders `first` and the library in front of Python's path.

    What is on the path already stays there: on a machine without an environment it's where packages
    are. One thread for torch.
    """
    path = [*map(str, first), str(ROOT), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, path)), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own, **variables}
