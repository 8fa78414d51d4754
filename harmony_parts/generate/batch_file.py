"""Many requests from one file: a table (.csv) or a line of JSON each (.jsonl), with the options of
`harmony generate` as columns; or prompts alone, a line each (.txt)."""

from __future__ import annotations

import csv
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from harmony_parts.errors import RequestError, nearest

TEXTS = ("prompt", "sound", "speech")
FILES = ("image", "voice", "audio", "video")
NUMBERS = {"seconds": float, "steps": int, "seed": int}
COLUMNS = ("name", *TEXTS, *FILES, *NUMBERS, "extra")
SOUND_ONLY = (".wav", ".flac")
SUFFIXES = (".mp4", ".mkv", *SOUND_ONLY)
LONGEST_NAME = 200  # bytes of a file name without its suffix; file systems allow 255 of all
# on Windows
RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)),
}


@attrs.frozen
class Request:
    """One line: the file to write, and what is asked for. What the line leaves empty isn't in
    `asked`.
    """

    where: str
    name: str
    asked: Mapping[str, Any]


def read_batch(path: Path, seed: int) -> list[Request]:
    """The requests of a file. Paths in it are relative to its folder; `seed` is that of lines
    without one.

    Raises RequestError with everything that is wrong with it, line by line.
    """
    faults: list[str] = []
    found: list[Request] = []
    taken: dict[str, str] = {}
    for line, fields in _lines(path, faults):
        where = f"{path.name}, line {line}"
        wrong, asked = _asked(fields, path.parent)
        name, fault = _name(asked.pop("name", None), line, asked, seed)
        wrong += [fault] if fault else []
        if not wrong and name.casefold() in taken:
            wrong.append(f"the name {name!r} is that of {taken[name.casefold()]}, too")
        faults += [f"{where}: {one}" for one in wrong]
        if not wrong:
            taken[name.casefold()] = where
            found.append(Request(where, name, asked))
    if not faults and not found:
        faults.append(f"{path.name}: holds no requests")
    if faults:
        raise RequestError(
            f"{path}: can't be used:\n" + "\n".join(f"  {fault}" for fault in faults)
        )
    return found


def _lines(path: Path, faults: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the line, its fields without the empty ones)."""
    try:
        # "-sig" reads what spreadsheets write as well
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                reader = csv.DictReader(file, skipinitialspace=True, strict=True)
                reader.fieldnames = [column.strip() for column in reader.fieldnames or ()]
                for row in reader:
                    if None in row:
                        faults.append(
                            f"{path.name}, line {reader.line_num}: more cells than columns; put"
                            ' text with a comma in "quotes"'
                        )
                    else:
                        yield (
                            reader.line_num,
                            {k: v.strip() for k, v in row.items() if v and v.strip()},
                        )
                return
            if path.suffix.lower() == ".txt":
                numbers: dict[str, int] = {}
                for number, line in enumerate(file, 1):
                    numbers.setdefault(line.strip(), number)  # a prompt that is there twice is one
                yield from (
                    (number, {"prompt": line})
                    for line, number in numbers.items()
                    if line and not line.startswith("#")
                )
                return
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    fields = json.loads(line)
                except ValueError as error:
                    fields = error
                if isinstance(fields, dict):
                    yield number, {k: v for k, v in fields.items() if v is not None and v != ""}
                else:
                    faults.append(
                        f"{path.name}, line {number}: isn't a JSON object: {line.strip()[:40]}"
                    )
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(f"{path.name}: isn't {path.suffix[1:]} in UTF-8: {error}")


def _asked(fields: Mapping[str, Any], folder: Path) -> tuple[list[str], dict[str, Any]]:
    """(what is wrong, the fields as `Pipeline.generate` takes them)."""
    wrong: list[str] = []
    asked: dict[str, Any] = {}
    for key, value in fields.items():
        if key not in COLUMNS:
            wrong.append(
                f"unknown column {key!r}{nearest(key, COLUMNS)}; there are: {', '.join(COLUMNS)}"
            )
        elif key in NUMBERS:
            number = _number(value, NUMBERS[key])
            if number is None or (number <= 0 if key != "seed" else not 0 <= number < 2**63):
                wrong.append(
                    f"{key} {value!r} is no {'whole ' if NUMBERS[key] is int else ''}number above"
                    f" {'or at ' if key == 'seed' else ''}0"
                )
            asked[key] = number
        elif key == "extra":
            extra = value if isinstance(value, dict) else _object(value)
            if extra is None:
                wrong.append("extra isn't a JSON object")
            asked[key] = extra
        elif not isinstance(value, str):
            wrong.append(f"{key} {value!r} is no text")
        elif key in FILES:
            asked[key] = folder / value
            if not asked[key].is_file():
                wrong.append(f"{key} {value!r}: no such file in {folder}")
        else:
            asked[key] = value
    if "audio" in asked and "video" in asked:
        wrong.append("audio and video are both given, which leaves nothing to make")
    return wrong, asked


def _number(value: Any, kind: type) -> float | int | None:
    try:
        number = kind(value)
    except (TypeError, ValueError):
        return None
    return (
        None
        if isinstance(value, bool)
        or not math.isfinite(number)
        or kind is int
        and str(value).strip() != str(number)
        else number
    )


def _object(text: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _name(given: str | None, line: int, asked: Mapping[str, Any], seed: int) -> tuple[str, str]:
    """(the file's name, what is wrong with it). By default the line, what is asked for, and the
    seed.
    """
    if given is None:
        said = next((asked[key] for key in TEXTS if key in asked), "")
        return (
            (
                f"{'-'.join(filter(None, (f'{line:04d}', slug(said), str(asked.get('seed', seed)))))}.mp4"  # noqa: E501
            ),
            "",
        )
    stem, suffix = (
        (given[: -len(s)], s) if (s := Path(given).suffix.lower()) in SUFFIXES else (given, ".mp4")
    )
    unsafe = sorted({c for c in given if c in '/\\:*?"<>|' or unicodedata.category(c)[0] == "C"})
    if (
        unsafe
        or stem.startswith((".", "-"))
        or stem != stem.strip()
        or not stem
        or stem.split(".")[0].casefold() in RESERVED
    ):
        what = (
            f"it has {', '.join(map(repr, unsafe))}"
            if unsafe
            else "it is empty, reserved, or begins or ends badly"
        )
        return "", f"the name {given!r} is no safe name of a file: {what}"
    if len(stem.encode()) > LONGEST_NAME:
        return "", f"the name {given[:20]!r}... is longer than {LONGEST_NAME} bytes"
    return stem + suffix, ""


def slug(text: str, longest: int = 40) -> str:
    """A piece of a file name that any system takes: letters and digits of ASCII with hyphens
    between.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:longest].strip("-")
