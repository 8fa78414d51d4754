"""Code that may reach for nothing outside is stopped at its first try, whatever it catches, and
nothing else is.
"""

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

from harmony_parts.testing.sandbox import Reached, unaided


def insists(reach: Callable[[], object]) -> None:
    """As libraries do that try once more."""
    for _ in range(2):
        try:
            reach()
        except Exception:
            continue


@pytest.mark.parametrize(
    ("reach", "says"),
    [
        (lambda file: file.read_text(), "would read .*weights.json"),
        (lambda file: os.open(file, os.O_RDONLY), "would read .*weights.json"),
        (lambda file: socket.create_connection(("127.0.0.1", 9)), "would ask the network"),
        (lambda file: socket.socket().connect(("127.0.0.1", 9)), "would ask the network"),
        (lambda file: subprocess.run([sys.executable, "-c", ""]), "would run a program"),
    ],
)
def test_what_reaches_outside_is_stopped(
    tmp_path: Path, reach: Callable[[Path], object], says: str
) -> None:
    file = tmp_path / "weights.json"
    file.write_text("1")
    with pytest.raises(Reached, match=says), unaided():
        insists(lambda: reach(file))
    assert file.read_text() == "1"  # afterwards nothing is stopped


def test_what_belongs_to_python_is_let_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed files, code, what is written, and whatever a module does while it is imported."""
    (tmp_path / "facts.json").write_text("[1]")
    (tmp_path / "reads_when_imported.py").write_text(
        "import json, pathlib\nfacts ="
        " json.loads(pathlib.Path(__file__).with_name('facts.json').read_text())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    installed = next(Path(pytest.__file__).parent.parent.glob("pytest-*/METADATA"))
    with unaided():
        assert installed.read_text()
        assert Path(json.__file__).read_text()
        (tmp_path / "made.txt").write_text("x")
        assert importlib.import_module("reads_when_imported").facts == [1]
