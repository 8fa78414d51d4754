"""`harmony parts new`; that what it writes works is tested with the writer itself
(tests/testing/test_scaffold.py).
"""

from __future__ import annotations

from pathlib import Path


def test_a_plugin_is_begun_once(harmony, tmp_path: Path) -> None:
    first = harmony("parts", "new", "guidance", "mine", "--in", str(tmp_path))
    assert first.exit_code == 0, first.output
    assert first.output.startswith(f"{tmp_path / 'harmony-mine'}: pip install -e ")
    assert (tmp_path / "harmony-mine" / "pyproject.toml").is_file()
    again = harmony("parts", "new", "guidance", "mine", "--in", str(tmp_path))
    assert again.exit_code == 2
    assert "is there already" in again.output


def test_a_name_that_is_taken_is_told(harmony, tmp_path: Path) -> None:
    """With both spellings; the package is written all the same, and another kind's part of that
    name is no matter.
    """
    taken = harmony("parts", "new", "guidance", "cfg", "--in", str(tmp_path))
    assert taken.exit_code == 0, taken.output
    assert (tmp_path / "harmony-cfg" / "pyproject.toml").is_file()
    assert "there is a guidance 'cfg' already, 'harmony/cfg'" in taken.stderr
    assert "write 'cfg/cfg' for yours and 'harmony/cfg' for that one" in taken.stderr
    assert harmony("parts", "new", "solver", "window", "--in", str(tmp_path)).stderr == ""


def test_what_cannot_be_begun_is_told(harmony, tmp_path: Path) -> None:
    kind = harmony("parts", "new", "guidence", "mine", "--in", str(tmp_path))
    assert kind.exit_code == 1
    assert "did you mean 'guidance'?" in kind.output
    name = harmony("parts", "new", "guidance", "Mine!", "--in", str(tmp_path))
    assert name.exit_code == 2
    assert "can't name a plugin" in name.output
    assert not any(tmp_path.iterdir())
