"""The guidance packages in `plugins/` can be built, installed with pip, found and tested."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import environment

pytestmark = pytest.mark.xdist_group("plugin-guidance")  # one fixture for all

ROOT = Path(__file__).parents[2]
PACKAGES = ("harmony-apg", "harmony-cfg-zero")
FOUND = """
import sys
from harmony_parts.assembly.catalogue import catalogue
assert not catalogue().failures, catalogue().failures
print(*(f"{d.qualified} {d.distribution} {d.version}" for d in catalogue().list("guidance")), sep="\\n")
assert "torch" not in sys.modules
"""  # noqa: E501


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed both packages, without downloads."""
    folder = tmp_path_factory.mktemp("plugins")
    sources = [
        shutil.copytree(
            ROOT / "plugins" / name,
            folder / name,
            ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"),
        )
        for name in PACKAGES
    ]
    options = [
        "--no-index",
        "--no-build-isolation",
        "--no-deps",
        "--disable-pip-version-check",
        "--quiet",
    ]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *options,
        "--target",
        str(folder / "site"),
        *map(str, sources),
    ]
    subprocess.run(command, check=True, timeout=120, cwd=folder)
    return folder / "site"


def run(site: Path, *command: str) -> str:
    """Run Python with the installed packages on its path."""
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=site,
        env=environment(site, HARMONY_PARTS_PLUGINS="apg,cfg-zero"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_installed_packages_are_found(site: Path) -> None:
    listed = run(site, "-c", FOUND)
    assert "apg/apg harmony-apg 0.1.0" in listed
    assert "cfg-zero/cfg-zero harmony-cfg-zero 0.1.0" in listed


@pytest.mark.slow
def test_installed_packages_pass_their_tests(site: Path) -> None:
    """With the installed code; `make test` runs the same tests on the sources."""
    tests = [str(ROOT / "plugins" / name / "tests") for name in PACKAGES]
    report = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    assert "passed" in report
    assert "failed" not in report


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_import_only_public_names(name: str) -> None:
    """No names of the library that begin with an underscore."""
    text = "\n".join(file.read_text() for file in (ROOT / "plugins" / name).rglob("*.py"))
    imported = [line for line in text.splitlines() if "harmony_parts" in line and "import" in line]
    assert imported
    assert not [line for line in imported if " _" in line]
    assert len([line for line in text.splitlines() if line.strip()]) < 250
