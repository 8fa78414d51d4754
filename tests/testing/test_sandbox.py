"""The sandbox stops access to files, programs and the network, and nothing else."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harmony_parts.testing.sandbox import OutsideAccess, sandbox


def retry(access: Callable[[], object]) -> None:
    """Ignore errors and try again, as some libraries do."""
    for _ in range(2):
        try:
            access()
        except Exception:
            continue


@pytest.mark.parametrize(
    ("access", "message"),
    [
        (lambda file: file.read_text(), "would read .*weights.json"),
        (lambda file: os.open(file, os.O_RDONLY), "would read .*weights.json"),
        (lambda file: socket.create_connection(("127.0.0.1", 9)), "would use the network"),
        (lambda file: socket.socket().connect(("127.0.0.1", 9)), "would use the network"),
        (lambda file: subprocess.run([sys.executable, "-c", ""]), "would run a program"),
    ],
)
def test_outside_access_is_stopped_even_if_errors_are_ignored(
    tmp_path: Path, access: Callable[[Path], object], message: str
) -> None:
    file = tmp_path / "weights.json"
    file.write_text("1")
    with pytest.raises(OutsideAccess, match=message), sandbox():
        retry(lambda: access(file))
    assert file.read_text() == "1"  # outside the sandbox nothing is stopped


def test_installed_files_writing_and_imports_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module may do anything while it is imported."""
    (tmp_path / "facts.json").write_text("[1]")
    (tmp_path / "reads_when_imported.py").write_text(
        "import json, pathlib\nfacts ="
        " json.loads(pathlib.Path(__file__).with_name('facts.json').read_text())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    installed = next(Path(pytest.__file__).parent.parent.glob("pytest-*/METADATA"))
    with sandbox():
        assert installed.read_text()
        assert Path(json.__file__).read_text()
        (tmp_path / "made.txt").write_text("x")
        assert importlib.import_module("reads_when_imported").facts == [1]
