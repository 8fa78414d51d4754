"""A folder of two counting clips, with and without a manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.counting_clips import FORMAT, LONG, SHORT, counting

from harmony_parts.data.clips import ClipFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    (root / "within").mkdir()
    (root / ".trash").mkdir()
    counting(LONG).save(root / "long.mkv")
    counting(SHORT).save(root / "within" / "short.MKV")
    shutil.copy(root / "long.mkv", root / ".trash" / "old.mkv")
    (root / "notes.txt").write_text("no media")
    return root


@pytest.fixture
def with_manifest(folder: Path, tmp_path: Path):
    """Write a manifest beside the two files, and build the data set."""
    shutil.copytree(folder, tmp_path / "clips")

    def build(text: str, encoding: str = "utf-8", **spec):
        (tmp_path / "clips" / "manifest.csv").write_bytes(text.encode(encoding))
        return ClipFolder(**spec).build(format=FORMAT, root=tmp_path / "clips")

    return build
