"""Batch files: one request per row (.csv) or JSON line (.jsonl), or one prompt per line (.txt).

The columns are the options of `harmony generate`; an empty cell takes the option's value.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import attrs

from harmony_parts.errors import RequestError, nearest
from harmony_parts.generate.fields import FILES, NEGATIVES, NUMBERS, TEXTS, from_text
from harmony_parts.generate.generated import SUFFIXES
from harmony_parts.generate.jobs import Job
from harmony_parts.generate.request import Request

COLUMNS = ("name", *TEXTS, *NEGATIVES, *FILES, *NUMBERS, "steps", "seed", "extra")
LONGEST_NAME = 200  # bytes of a file name without its suffix; file systems allow 255 in total
DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789"),
}
"""File names that Windows reserves."""

Row = tuple[int, dict[str, Any]]  # line number, and the cells that aren't empty


def read_batch(path: Path, defaults: Request, labels: Sequence[str] = ()) -> list[Job]:
    """The jobs of a batch file; `defaults` fills empty cells. Paths are relative to its folder.

    `labels` are further columns, whose cells are names that are safe as those of folders.
    Raises RequestError with all faults of the file, line by line.
    """
    faults: list[str] = []
    jobs: list[Job] = []
    taken: dict[str, str] = {}
    columns = (*COLUMNS, *labels)
    for line, cells in _rows(path, faults):
        source = f"{path.name}, line {line}"
        unknown = [
            f"unknown column {key!r}{nearest(key, columns)}; there are: {', '.join(columns)}"
            for key in cells
            if key not in columns
        ]
        unknown += [
            f"{key} must be a name that is safe for a folder, not {cells[key]!r:.40}"
            for key in labels
            if key in cells and _unsafe(str(cells[key]), str(cells[key]))
        ]
        fields = _fields(cells, path.parent)
        request = attrs.evolve(defaults, **fields)
        name, name_fault = _name(cells.get("name"), line, fields, defaults.seed)
        wrong = [*unknown, *request.faults(), *([name_fault] if name_fault else [])]
        if not wrong and name.casefold() in taken:
            wrong.append(f"the name {name!r} is already that of {taken[name.casefold()]}")
        faults += [f"{source}: {fault}" for fault in wrong]
        if not wrong:
            taken[name.casefold()] = source
            own = {key: str(cells[key]) for key in labels if key in cells}
            jobs.append(Job(name, request, source, frozenset(fields), own))
    if not faults and not jobs:
        faults.append(f"{path.name}: has no requests")
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise RequestError(f"{path}: can't be used:\n{lines}")
    return jobs


def _fields(cells: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The request's fields of a row; what can't be converted is left for `Request.faults`."""
    return {
        key: _value(key, cell, folder)
        for key, cell in cells.items()
        if key in COLUMNS and key != "name"
    }


def _value(key: str, cell: Any, folder: Path) -> Any:
    if not isinstance(cell, str):
        return cell
    return folder / cell if key in FILES else from_text(key, cell)


# --- the three formats ----------------------------------------------------------------------------


def _rows(path: Path, faults: list[str]) -> Iterator[Row]:
    """The rows of a file; those that can't be read are added to `faults`."""
    formats = {".csv": _table_rows, ".txt": _prompt_rows}
    try:
        # "-sig" also reads the byte order mark that spreadsheets write
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from formats.get(path.suffix.lower(), _json_rows)(file, path.name, faults)
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(f"{path.name}: isn't {path.suffix[1:]} in UTF-8: {error}")


def _table_rows(file: TextIO, name: str, faults: list[str]) -> Iterator[Row]:
    reader = csv.DictReader(file, skipinitialspace=True, strict=True)
    reader.fieldnames = [column.strip() for column in reader.fieldnames or ()]
    for row in reader:
        if None in row:
            faults.append(
                f"{name}, line {reader.line_num}: more cells than columns; put text with a comma in"
                ' "quotes"'
            )
        else:
            yield reader.line_num, {k: v.strip() for k, v in row.items() if v and v.strip()}


def _prompt_rows(file: TextIO, name: str, faults: list[str]) -> Iterator[Row]:
    """Without comments; a prompt that is repeated counts once."""
    numbers: dict[str, int] = {}
    for number, line in enumerate(file, 1):
        numbers.setdefault(line.strip(), number)
    for line, number in numbers.items():
        if line and not line.startswith("#"):
            yield number, {"prompt": line}


def _json_rows(file: TextIO, name: str, faults: list[str]) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            yield number, {k: v for k, v in row.items() if v is not None and v != ""}
        else:
            faults.append(f"{name}, line {number}: isn't a JSON object: {line.strip()[:40]}")


# --- file names -----------------------------------------------------------------------------------


def _name(given: Any, line: int, fields: Mapping[str, Any], seed: int) -> tuple[str, str]:
    """(the clip's file name, what is wrong with it); by default line, text and seed."""
    if given is None:
        text = next((fields[key] for key in TEXTS if key in fields), "")
        pieces = (f"{line:04d}", slug(str(text)), str(fields.get("seed", seed)))
        return f"{'-'.join(filter(None, pieces))}.mp4", ""
    if not isinstance(given, str):
        return "", f"name must be a string, not {given!r}"
    suffix = Path(given).suffix.lower()
    stem, suffix = (given[: -len(suffix)], suffix) if suffix in SUFFIXES else (given, ".mp4")
    if fault := _unsafe(given, stem):
        return "", f"the name {given!r} isn't a safe file name: it {fault}"
    if len(stem.encode()) > LONGEST_NAME:
        return "", f"the name {given[:20]!r}... is longer than {LONGEST_NAME} bytes"
    return stem + suffix, ""


def _unsafe(name: str, stem: str) -> str:
    """Why a file name isn't safe on all systems; empty if it is."""
    unsafe = sorted({c for c in name if c in '/\\:*?"<>|' or unicodedata.category(c)[0] == "C"})
    if unsafe:
        return f"has {', '.join(map(repr, unsafe))}"
    if not stem or stem != stem.strip():
        return "is empty, or begins or ends with a space"
    if stem.startswith((".", "-")):
        return f"begins with {stem[0]!r}"
    return "is reserved on Windows" if stem.split(".")[0].casefold() in DEVICES else ""


def slug(text: str, longest: int = 40) -> str:
    """Text as part of a file name on any system: ASCII letters and digits, joined by hyphens."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:longest].strip("-")
