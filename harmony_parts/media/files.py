"""Write files atomically: a file is either complete or absent, also if the process is killed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file of the same suffix, flush it and rename it to `path`.

    The temporary folder lies beside `path`: the rename stays on one disk, and it is removed if
    `write` raises. Raises OSError if the folder of `path` can't be written.
    """
    # Names are limited to 255 bytes, so a long one is cut.
    with tempfile.TemporaryDirectory(prefix=f".{path.name[:40]}.", dir=path.parent) as folder:
        part = Path(folder, f"part{path.suffix}")
        write(part)
        flush(part)
        os.replace(part, path)


def replace_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` in UTF-8. Raises OSError."""
    replace(path, lambda part: part.write_text(text, encoding="utf-8"))


def flush(path: Path) -> None:
    """Wait until the content of a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cause_on_disk(error: BaseException, path: Path) -> str:
    """The words of an error about writing `path`; a full disk is named."""
    text = str(error)
    full = getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in text
    return f"{text}: the disk {disk_of(path.parent)} is full" if full else text


def disk_of(path: Path) -> Path:
    """Where the disk of a path is mounted."""
    place = path.absolute()
    while not place.is_dir() or not (os.path.ismount(place) or place == place.parent):
        place = place.parent
    return place
