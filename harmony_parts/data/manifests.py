"""Lists of recordings with their texts: CSV, JSON Lines and Parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harmony_parts.data.captions import KEYS
from harmony_parts.data.clip_set import Entry
from harmony_parts.errors import MediaError

Rows = Iterator[tuple[str, Mapping[str, Any]]]
"""(file and place in it, for messages; the row) of each row of a manifest."""


def read_manifest(root: Path, manifest: Path) -> Iterator[Entry]:
    """The recordings that a manifest lists, in its order; its suffix gives its format.

    Raises MediaError, naming the row, if it can't be read or lists a file outside `root`.
    """
    rows = READERS.get(manifest.suffix.lower())
    if rows is None:
        raise MediaError(
            f"{manifest}: a manifest ends in {', '.join(READERS)}; this one can't be read"
        )
    for where, row in rows(manifest):
        name = _text(row.get("file"), where) or ""
        caption, sound, speech, speaker = (
            _text(next((row[key] for key in keys if key in row), None), where) for keys in KEYS
        )
        yield Entry(name, _inside(root, name, where), caption, sound, speech, speaker)


def _text(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise MediaError(f"{where}: {value!r} isn't text")
    return value.strip() or None


def _csv(manifest: Path) -> Rows:
    try:
        # "utf-8-sig" also reads the byte order mark that spreadsheets write.
        with manifest.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, skipinitialspace=True, strict=True)
            columns = reader.fieldnames = [column.strip() for column in reader.fieldnames or ()]
            if "file" not in columns:
                raise MediaError(
                    f"{manifest}: has no column `file`; its first line names"
                    f" {', '.join(columns) or 'no columns'}"
                )
            for row in reader:
                where = f"{manifest}, line {reader.line_num}"
                if None in row:
                    raise MediaError(
                        f"{where}: has more cells than columns; put text that holds a comma in"
                        ' "double quotes"'
                    )
                yield where, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise MediaError(f"{manifest}: isn't a CSV file in UTF-8: {error}") from error
    except OSError as error:
        raise MediaError(f"{manifest}: can't be read: {error.strerror}") from error


def _json_lines(manifest: Path) -> Rows:
    try:
        with manifest.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"{manifest}, line {number}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise MediaError(f"{where}: isn't JSON: {error}") from error
                if not isinstance(row, dict) or "file" not in row:
                    raise MediaError(f"{where}: isn't an object with the key `file`")
                yield where, row
    except UnicodeDecodeError as error:
        raise MediaError(f"{manifest}: isn't text in UTF-8: {error}") from error
    except OSError as error:
        raise MediaError(f"{manifest}: can't be read: {error.strerror}") from error


def _parquet(manifest: Path) -> Rows:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MediaError(
            f"{manifest}: Parquet needs pyarrow: pip install 'harmony-parts[parquet]', or use CSV"
            " or JSON Lines"
        ) from error
    try:
        with parquet.ParquetFile(manifest) as file:
            if "file" not in file.schema_arrow.names:
                raise MediaError(f"{manifest}: has no column `file`")
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    yield f"{manifest}, row {number}", row
                    number += 1
    except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of ValueError
        raise MediaError(f"{manifest}: can't be read as Parquet: {error}") from error


READERS: dict[str, Callable[[Path], Rows]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}


def _inside(root: Path, name: str, where: str) -> Path:
    """root / name, if `name` stays inside the folder; the user's own links are followed."""
    inside = os.path.normpath(name)
    if (
        inside == "."
        or Path(inside).parts[0] == ".."
        or Path(inside).is_absolute()
        or Path(inside).drive
    ):
        raise MediaError(
            f"{where}: file {name!r} isn't a file in the data folder; give its path relative to"
            f" {root}"
        )
    return root / inside
