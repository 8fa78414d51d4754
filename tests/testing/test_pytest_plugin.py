"""The pytest mark for guidance, in a separate pytest process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers.programs import environment

ROOT = Path(__file__).parents[2]
TESTS = '''
import attrs
import pytest
import torch
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance


@attrs.frozen
class Clipped(NoGuidance):
    """Not homogeneous in the predictions."""

    def combine(self, preds, times, state):
        return preds["joint"].only(times.generated()).map(lambda v: v.clamp(-1, 1)), state


@pytest.mark.guidance_properties(CFG())
def test_pass(guidance, holds):
    holds(guidance, examples=2)


@pytest.mark.guidance_properties(Clipped(), known_failures={"homogeneous": "clips", "tokens": "wrong: this holds"})
def test_fail(guidance, holds):
    holds(guidance, examples=4)
'''  # noqa: E501


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with this library and without other pytest plugins."""
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
        timeout=120,
    )


def test_the_mark_runs_every_property(tmp_path: Path) -> None:
    """Known failures are expected to fail; an unexpected pass is a failure."""
    (tmp_path / "test_mine.py").write_text(TESTS)
    done = run(
        "-m",
        "pytest",
        "-p",
        "harmony_parts.testing.pytest_plugin",
        "--strict-markers",
        "-rA",
        "-q",
        cwd=tmp_path,
    )
    report = done.stdout
    assert "XFAIL test_mine.py::test_fail[Clipped(): homogeneous] - clips" in report, report
    assert "FAILED test_mine.py::test_fail[Clipped(): tokens]" in report
    assert "FAILED test_mine.py::test_fail[Clipped(): affine]" in report
    assert report.count("PASSED test_mine.py::test_pass") >= 15
    assert "FAILED test_mine.py::test_pass" not in report


def test_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, harmony_parts.testing.pytest_plugin; print({'torch', 'numpy', 'hypothesis',"
        " 'attrs', 'pytest'} & set(sys.modules))"
    )
    assert run("-c", code, cwd=ROOT).stdout.strip() == "set()"
