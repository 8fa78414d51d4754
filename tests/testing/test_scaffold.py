"""New plugins of every kind: written, and through their own tests as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harmony_parts.assembly.kinds import KINDS
from harmony_parts.errors import UnknownPart
from harmony_parts.testing.scaffold import BEGINS, write_plugin

ROOT = Path(__file__).parents[2]


def test_every_kind_has_a_beginning() -> None:
    assert set(BEGINS) == set(KINDS)


def test_their_tests_pass_as_generated(tmp_path: Path) -> None:
    """All kinds in one pytest, each package beside its tests."""
    made = [write_plugin(kind, f"my-{kind.replace('_', '-')}", tmp_path) for kind in KINDS]
    path = os.pathsep.join([*map(str, made), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *(str(folder / "tests") for folder in made),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownPart, match="did you mean 'guidance'"):
        write_plugin("guidence", "mine", tmp_path)
    for name in ("Mine", "2fast", "a--b", "class", "../up", ""):
        with pytest.raises(ValueError, match="can't name a plugin"):
            write_plugin("guidance", name, tmp_path)
    write_plugin("guidance", "mine", tmp_path)
    with pytest.raises(ValueError, match="is there already"):
        write_plugin("guidance", "mine", tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["harmony-mine"]
