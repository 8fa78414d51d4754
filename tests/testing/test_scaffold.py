"""Generated plugins of every kind pass their own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harmony_parts.assembly.kinds import KINDS
from harmony_parts.errors import UnknownPart
from harmony_parts.testing.scaffold import STARTING_POINTS, write_plugin

ROOT = Path(__file__).parents[2]


def test_every_kind_has_a_starting_point() -> None:
    assert set(STARTING_POINTS) == set(KINDS)


def test_generated_tests_pass(tmp_path: Path) -> None:
    """Plugins of all kinds, in one pytest process."""
    made = [write_plugin(kind, f"my-{kind.replace('_', '-')}", tmp_path) for kind in KINDS]
    lines = [line for file in tmp_path.rglob("*.py") for line in file.read_text().splitlines()]
    assert max(map(len, lines)) <= 100
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


def test_unknown_kinds_and_invalid_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownPart, match="did you mean 'guidance'"):
        write_plugin("guidence", "mine", tmp_path)
    for name in ("Mine", "2fast", "a--b", "class", "../up", ""):
        with pytest.raises(ValueError, match="can't name a plugin"):
            write_plugin("guidance", name, tmp_path)
    write_plugin("guidance", "mine", tmp_path)
    with pytest.raises(ValueError, match="already exists"):
        write_plugin("guidance", "mine", tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["harmony-mine"]
