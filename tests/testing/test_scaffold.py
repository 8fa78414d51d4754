"""Generated plugins of every kind pass their own tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import environment

from harmony_parts.assembly.kinds import KINDS
from harmony_parts.errors import UnknownPart
from harmony_parts.testing.scaffold import STARTING_POINTS, write_plugin


def test_every_kind_has_a_starting_point() -> None:
    assert set(STARTING_POINTS) == set(KINDS)


SMALL = """read_recipe("demo").denoiser"""
OTHERS = {
    "denoiser": SMALL,
    "video_branch": f"{SMALL}.video",
    "audio_branch": f"{SMALL}.audio",
    # of equal scales: whoever hides unequal ones in a guidance declares it exempt from "swap"
    "guidance": 'default_part("harmony_parts.guidance.cfg:CFG", video=3, audio=3).factory()',
}
"""Kinds whose default isn't what an author would put in the place of `inner` -> a part that is:
branches and denoisers are as large as real models by default.
"""


def without_inner(package: Path, kind: str) -> None:
    """Take `inner` out of the part, as its docstring says, with a part of the module in its place.

    The methods then no longer need the setting, whatever they compute.
    """
    (file,) = (path for path in package.glob("harmony_*/*.py") if path.name != "__init__.py")
    text = file.read_text()
    field = re.search(r"\n    inner: \w+ = knob\(\n        (.*),\n.*\n    \)\n", text)
    assert field
    part = OTHERS.get(kind, f"{field[1]}.factory()")
    text = text.replace(field[0], "").replace("self.inner", "BUILT_IN")
    imported = "from harmony_parts.assembly.read import read_recipe\n" if kind in OTHERS else ""
    text = text.replace("import attrs\n\n", f"import attrs\n\n{imported}")
    text = text.replace("default_part, knob", "default_part")
    text = text.replace("\n\n\n@attrs", f"\n\nBUILT_IN = {part}\n\n\n@attrs", 1)
    file.write_text(text)


@pytest.mark.parametrize("inner", ["kept", pytest.param("removed", marks=pytest.mark.slow)])
def test_generated_tests_pass(tmp_path: Path, inner: str) -> None:
    """Plugins of all kinds, in one pytest process: as they are, and without their `inner`."""
    made = [write_plugin(kind, f"my-{kind.replace('_', '-')}", tmp_path) for kind in KINDS]
    if inner == "removed":
        for kind, package in zip(KINDS, made, strict=True):
            without_inner(package, kind)
    lines = [line for file in tmp_path.rglob("*.py") for line in file.read_text().splitlines()]
    assert max(map(len, lines)) <= 100
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
        command, capture_output=True, text=True, timeout=240, cwd=tmp_path, env=environment(*made)
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
