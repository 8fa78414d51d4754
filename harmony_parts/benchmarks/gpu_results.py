"""The results of `make gpu`: lines of results.jsonl, each kept at once, so a cut loses nothing.

Only the standard library is imported: `gpu` runs where nothing else may be there.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = "results.jsonl"
OUT = Path(os.environ.get("HARMONY_GPU_OUT", "out/gpu"))
DEVICE = os.environ.get("HARMONY_GPU_DEVICE", "cuda")
"""Where the items compute: "cpu" in a rehearsal, with toy sizes."""


def append(out: Path, line: Mapping[str, Any]) -> None:
    """Add a line to the results, on the disk before this returns; a cut line before it stays."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / RESULTS).open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a file so far, without those that were cut."""
    found = []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def finished(lines: Sequence[Mapping[str, Any]]) -> set[str]:
    """The items that have succeeded; all others are tried again."""
    return {line["item"] for line in lines if line.get("rc") == 0 and "item" in line}


def record(figure: str, measure: Callable[[], Mapping[str, Any]], /, **about: Any) -> bool:
    """Append what `measure` returns, or its error; whether it succeeded. It never raises."""
    try:
        found = {"ok": True, **measure()}
    except Exception as error:  # whatever a GPU's compiler or driver raises: the rest goes on
        traceback.print_exc()
        found = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
    append(OUT, {"figure": figure, **about, **found})
    return bool(found["ok"])
