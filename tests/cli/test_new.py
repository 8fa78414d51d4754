"""`harmony parts new`; tests/testing/test_scaffold.py tests that what it writes works."""

from __future__ import annotations

from pathlib import Path


def test_an_existing_folder_is_not_overwritten(harmony, tmp_path: Path) -> None:
    first = harmony("parts", "new", "guidance", "mine", "--in", str(tmp_path))
    assert first.exit_code == 0, first.output
    assert first.output.startswith(f"{tmp_path / 'harmony-mine'}: pip install -e ")
    assert (tmp_path / "harmony-mine" / "pyproject.toml").is_file()
    again = harmony("parts", "new", "guidance", "mine", "--in", str(tmp_path))
    assert again.exit_code == 2
    assert "already exists" in again.output


def test_a_name_that_another_part_has_is_reported(harmony, tmp_path: Path) -> None:
    """With both qualified names. The package is written; a part of another kind doesn't matter."""
    taken = harmony("parts", "new", "guidance", "cfg", "--in", str(tmp_path))
    assert taken.exit_code == 0, taken.output
    assert (tmp_path / "harmony-cfg" / "pyproject.toml").is_file()
    assert "guidance 'cfg' already exists as 'harmony/cfg'" in taken.stderr
    assert "write 'cfg/cfg' for yours and 'harmony/cfg' for the other" in taken.stderr
    assert harmony("parts", "new", "solver", "window", "--in", str(tmp_path)).stderr == ""


def test_unknown_kinds_and_invalid_names_are_refused(harmony, tmp_path: Path) -> None:
    kind = harmony("parts", "new", "guidence", "mine", "--in", str(tmp_path))
    assert kind.exit_code == 1
    assert "did you mean 'guidance'?" in kind.output
    name = harmony("parts", "new", "guidance", "Mine!", "--in", str(tmp_path))
    assert name.exit_code == 2
    assert "can't name a plugin" in name.output
    assert not any(tmp_path.iterdir())
