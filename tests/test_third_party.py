"""A third-party guidance of at most 20 lines is installed with pip, listed and used in a recipe."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
from helpers.programs import environment
from helpers.toy_parts import TINY

pytestmark = pytest.mark.xdist_group("third-party")  # one fixture for all

PACKAGE = Path(__file__).parent / "helpers" / "third_party" / "harmony-half"

USE = """
import sys, tomllib
from harmony_parts.assembly.catalogue import catalogue
parts = catalogue()
assert not parts.failures, parts.failures
print(*(f"{d.kind} {d.qualified} {d.distribution} {d.version}" for d in parts.list("guidance")), sep="\\n")
assert "torch" not in sys.modules, "listing imports torch"

import torch
from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe, write_recipe
from harmony_parts.av import AV
from harmony_parts.guidance.protocol import CONDITIONAL, StepTimes
recipe = read_recipe("recipe.toml")
build(recipe)
print(write_recipe(recipe))
times = StepTimes(1.0, 1.0)
plain, other = AV(torch.zeros(2), torch.zeros(2)), AV(torch.ones(2), torch.ones(2))
preds = {p.name: plain if p.name == CONDITIONAL else other for p in recipe.sample.guidance.passes(times, None)}
full = recipe.sample.guidance.inner.combine(preds, times, None)[0]
half = recipe.sample.guidance.combine(preds, times, None)[0]
assert full["video"].abs().min() > 0
assert torch.equal(half["video"], full["video"] / 2) and torch.equal(half["audio"], full["audio"] / 2)
"""  # noqa: E501


def test_the_package_is_short():
    """Including its pyproject.toml."""
    lines = [
        line
        for file in PACKAGE.rglob("*")
        if file.suffix in (".py", ".toml")
        for line in file.read_text().splitlines()
    ]
    assert 0 < len(lines) <= 20


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the package, without downloads."""
    folder = tmp_path_factory.mktemp("third-party")
    source = shutil.copytree(
        PACKAGE,
        folder / "source",
        ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"),
    )
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
        str(source),
    ]
    subprocess.run(command, check=True, timeout=120, cwd=folder)
    return folder / "site"


def test_the_installed_guidance_is_listed_and_used(target, tmp_path):
    """The recipe uses its bare name; it is written with the qualified name and the version."""
    recipe = {
        **TINY,
        "sample": {
            **TINY["sample"],
            "guidance": {"use": "half", "inner": {"use": "sync-cfg", "video": 3}},
        },
    }
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps(recipe), encoding="utf-8")
    env = environment(target)
    env.pop("HARMONY_PARTS_PLUGINS", None)
    done = subprocess.run(
        [sys.executable, "-c", USE],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    assert "guidance half/half harmony-half 0.1.0" in done.stdout
    assert 'use = "half/half"' in done.stdout
    assert 'half = "harmony-half 0.1.0"' in done.stdout
