"""A plugin whose import ends the process is named on the next start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import environment

LIST = "from harmony_parts.assembly.catalogue import Catalogue; Catalogue.discover()"


def start(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A start of a program that finds the plugins in `folder`."""
    env = environment(folder, **{"XDG_CACHE_HOME": str(folder / "cache"), **more})
    return subprocess.run(
        [sys.executable, "-c", LIST], env=env, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The module of an installed plugin `deadly`."""
    info = tmp_path / "deadly-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harmony_parts]\ndeadly = deadly\n")
    return tmp_path / "deadly.py"


def test_the_next_start_names_it_once(plugin: Path) -> None:
    plugin.write_text("import os; os.abort()")
    folder, only = plugin.parent, {"HARMONY_PARTS_PLUGINS": "deadly"}
    first = start(folder, **only)
    assert first.returncode == -6
    assert "an earlier start" not in first.stderr
    second = start(folder, **only)
    assert second.returncode == -6
    assert "an earlier start ended while the plugin deadly was imported; update or remove it" in (
        second.stderr
    )
    assert "HARMONY_PARTS_PLUGINS=none" in second.stderr
    plugin.write_text("")  # mended: said once more, for the second start, and then forgotten
    third, fourth = start(folder, **only), start(folder, **only)
    assert (third.returncode, fourth.returncode) == (0, 0)
    assert "an earlier start" in third.stderr
    assert "an earlier start" not in fourth.stderr


def test_failures_and_a_cache_that_cannot_be_written_leave_no_trace(plugin: Path) -> None:
    plugin.write_text("raise ImportError('no')")
    assert "an earlier start" not in start(plugin.parent).stderr + start(plugin.parent).stderr
    assert not list((plugin.parent / "cache").rglob("deadly*"))
    (plugin.parent / "file").touch()
    assert start(plugin.parent, XDG_CACHE_HOME=str(plugin.parent / "file")).returncode == 0
