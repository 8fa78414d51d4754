"""Files are written atomically."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harmony_parts.errors import MediaError
from harmony_parts.media.files import cause_on_disk, disk_of, replace, replace_text


def test_a_replaced_file_has_the_new_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    for text in ("old", "naïve"):
        replace_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    replace_text(path, "old")

    def fail(part: Path) -> None:
        part.write_text("new", encoding="utf-8")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace(path, fail)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_longest_file_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".json")
    replace_text(path, "text")
    assert path.is_file()


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """By Python's error, and by ffmpeg's words; other errors keep theirs."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    disk = disk_of(tmp_path)
    for error in (full, MediaError(f"a.mp4: {os.strerror(errno.ENOSPC)}")):
        assert cause_on_disk(error, tmp_path / "a.mp4") == f"{error}: the disk {disk} is full"
    assert cause_on_disk(OSError("other"), tmp_path / "a.mp4") == "other"
