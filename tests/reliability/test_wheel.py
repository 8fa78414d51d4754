"""The wheel alone: built from a copy of the sources, unpacked by pip into a folder, and run elsewhere, without plugins.

torch and the other dependencies are those of this Python; what is tried is that the wheel holds all of this library.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pip(*args: object) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, args)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    shutil.copytree(ROOT / "harmony_parts", source / "harmony_parts", ignore=leave)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    pip("install", "--no-deps", "--no-index", "--target", folder / "site", wheel)
    return folder / "site"


@pytest.mark.slow
def test_the_wheel_alone(site: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(site), "HARMONY_PARTS_PLUGINS": "none", "OMP_NUM_THREADS": "1"}

    def harmony(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "harmony_parts", *args], capture_output=True, text=True, timeout=240, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, f"harmony {' '.join(args)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    where = "import harmony_parts; print(harmony_parts.__file__)"
    found = subprocess.run([sys.executable, "-c", where], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)
    assert found.stdout.startswith(str(site)), "the wheel is what is tried"
    assert "all well" in harmony("doctor")
    assert "sync-cfg" in harmony("parts", "list")
    assert "all can be used" in harmony("parts", "check")
    few = ("train.steps=3", "train.batch=2", "train.prepared=4", "data.size=4")
    assert "trained in" in harmony("train", "demo", *(word for change in few for word in ("--set", change)))
    assert "ball.mp4: 2.00 s" in harmony("generate", "runs/demo", "--prompt", "a ball", "--steps", "2", "--out", "ball.mp4")
    assert (site / "bin" / "harmony").is_file()
