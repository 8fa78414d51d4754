"""The guidances of a comparison."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harmony_parts import SumGuidance
from harmony_parts.assemble import apply_overrides
from harmony_parts.guidance.protocol import Guidance, StepTimes
from harmony_parts.structure import structure

MIDDLE = StepTimes(0.5, 0.5)
NAME = re.compile("[A-Za-z0-9_-]+")
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "none": {"use": "harmony/none"},
    "cfg": {"use": "harmony/cfg", "video": 3.0, "audio": 7.0},
    "modality": {"use": "harmony/modality", "video": 3.0, "audio": 3.0},
    "sync-cfg": {"use": "harmony/sync-cfg", "video": 3.0, "audio": 2.0},
}
"""Name -> part and scales: cfg and modality as LTX2Pipeline has them, sync-cfg as in arXiv:2511.21579."""


def guidances(changes: Sequence[str] = (), with_text: bool = False) -> dict[str, Guidance]:
    """The guidances that are compared, by name; `with_text` adds cfg to those whose passes leave no text out.

    `changes`: "sync-cfg.audio=4" sets one of theirs, "mine.use=apg" adds one. Raises AssemblyError for what makes no guidance,
    ValueError for a name that can't be in that of a file.
    """
    tables = apply_overrides(SETTINGS, changes)
    if strange := [name for name in tables if not NAME.fullmatch(name)]:
        raise ValueError(f"--guidance: {strange[0]!r} can't name a guidance's clips; letters, digits, _ and - can")
    made: dict[str, Guidance] = {name: structure(table, Guidance, where=f"the guidance {name}") for name, table in tables.items()}  # type: ignore[type-abstract]
    if not with_text:
        return made
    plus = {f"cfg + {name}": SumGuidance((made["cfg"], guidance)) for name, guidance in made.items() if _without_text(guidance)}
    return {name: guidance for name, guidance in made.items() if not _without_text(guidance)} | plus


def passes(guidance: Guidance) -> int:
    """The passes that a step takes, in the middle of a run."""
    return len(guidance.passes(MIDDLE, None))


def _without_text(guidance: Guidance) -> bool:
    return passes(guidance) > 1 and not any(one.drop for one in guidance.passes(MIDDLE, None))
