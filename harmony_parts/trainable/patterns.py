"""Modules and weights by patterns of their paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
SHOWN = 12  # paths in an error


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches the path, or the path of a module around it.

    `*` stands for any characters: "denoiser.blocks.*.audio" is the audio side of every block.
    """
    parts = path.split(".")
    around = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return any(fnmatchcase(place, pattern) for pattern in patterns for place in around)


def unmatched(patterns: Sequence[str], paths: Sequence[str], what: str) -> str:
    """Why there is nothing to train: the patterns, and the paths that exist, numbers as `*`."""
    shown = list(dict.fromkeys(NUMBER.sub("*", path) for path in paths))
    more = f", and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return (
        f"no {what} matches {', '.join(map(repr, patterns))}; there are"
        f" {', '.join(shown[:SHOWN])}{more}"
    )
