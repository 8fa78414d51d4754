"""The wheel: built from a copy of the sources, unpacked by pip, and run elsewhere without plugins.

torch and the other dependencies are those of this Python; the tests check that the wheel has all
files of this library.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from helpers.shipped_model import NAME, make_model

from harmony_parts.media.clip import Clip

ROOT = Path(__file__).parents[2]


def pip(*args: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the wheel is installed, with a further model that ships."""
    folder = tmp_path_factory.mktemp("wheel")
    more = {f"harmony_parts/shipped/{NAME}": make_model(folder / NAME)}
    return installed(ROOT, ("harmony_parts", "pyproject.toml", "README.md"), folder, more)


def installed(
    package: Path, pieces: Iterable[str], folder: Path, more: Mapping[str, Path] | None = None
) -> Path:
    """Build a package's wheel from a copy of those `pieces` and unpack it into `folder`/site.

    `more`: place in the package -> a folder that is copied there.
    """
    source = folder / package.name
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in pieces:
        if (package / name).is_dir():
            shutil.copytree(package / name, source / name, ignore=leave)
        else:
            shutil.copy(package / name, source)
    for place, content in (more or {}).items():
        shutil.copytree(content, source / place)
    pip(
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        folder / "wheels" / package.name,
        source,
    )
    (wheel,) = (folder / "wheels" / package.name).glob("*.whl")
    pip("install", "--no-deps", "--no-index", "--target", folder / "site", wheel)
    return folder / "site"


@pytest.mark.slow
def test_the_installed_wheel_trains_and_generates(site: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "HARMONY_PARTS_PLUGINS": "none",
        "OMP_NUM_THREADS": "1",
    }

    def harmony(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "harmony_parts", *args],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=tmp_path,
            env=environment,
        )
        assert done.returncode == 0, f"harmony {' '.join(args)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    where = "import harmony_parts; print(harmony_parts.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment,
    )
    assert found.stdout.startswith(str(site)), "the wheel is what is imported"
    assert "everything works" in harmony("doctor")
    assert "sync-cfg" in harmony("parts", "list")
    assert "all can be used" in harmony("parts", "check")
    few = ("train.steps=3", "train.batch=2", "train.prepared=4", "data.size=4")
    assert "trained in" in harmony(
        "train", "demo", *(word for change in few for word in ("--set", change))
    )
    assert "ball.mp4: 2.00 s" in harmony(
        "generate", "runs/demo", "--prompt", "a ball", "--steps", "2", "--out", "ball.mp4"
    )
    assert (site / "bin" / "harmony").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", [NAME, "harmony-tiny"])
def test_the_wheel_alone_plays_a_model_that_ships(site: Path, tmp_path: Path, name: str) -> None:
    """No file of the sources, no network, and no plugin: only the wheel and its dependencies."""
    if not (site / "harmony_parts" / "shipped" / name).is_dir():
        pytest.skip(f"{name} has no weights yet: `harmony ship` writes them")
    words = ["generate", name, "--prompt", "a red ball bounces on wood", "--out", "x.mp4"]
    done = subprocess.run(
        [sys.executable, "-m", "harmony_parts", *words],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
        env={
            **{key: text for key, text in os.environ.items() if "proxy" not in key.lower()},
            "PYTHONPATH": str(site),
            "HARMONY_PARTS_PLUGINS": "none",
            "HF_ENDPOINT": "http://127.0.0.1:9",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr, "the prompt is one that it knows"
    clip = Clip.read(tmp_path / "x.mp4")
    assert clip.frames is not None
    assert clip.waveform is not None
    assert clip.frames.float().std() > 1
    assert clip.waveform.abs().max() > 1e-3
    shipped = list((site / "harmony_parts" / "shipped" / name).iterdir())
    assert sum(file.stat().st_size for file in shipped) < 20e6


@pytest.mark.slow
def test_the_plugins_wheels_pass_their_contract_checks(site: Path, tmp_path: Path) -> None:
    """Each light plugin with parts, installed beside the library: they load and pass.

    Those with requirements of their own are checked in their environments.
    """
    light = re.search(
        r"^LIGHT\s*:= (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert light
    plugins = [ROOT / "plugins" / name for name in light[1].split()]
    names = []
    for plugin in plugins:
        declared = tomllib.loads((plugin / "pyproject.toml").read_text(encoding="utf-8"))
        parts = declared["project"].get("entry-points", {}).get("harmony_parts")
        if parts is None:  # nodes of ComfyUI, a command
            continue
        names += parts
        installed(
            plugin,
            (*declared["tool"]["setuptools"]["packages"], "pyproject.toml", "README.md"),
            tmp_path,
        )
    path = os.pathsep.join((str(site), str(tmp_path / "site")))
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "HARMONY_PARTS_PLUGINS": ",".join(names),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "harmony_parts", "parts", "check"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all can be used" in done.stdout
    listed = subprocess.run(
        [*command[:-1], "list"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment,
    ).stdout
    assert names
    assert all(name in listed for name in names)
