"""Mutants drawn by a rule: the tests of their folder notice each, but those that compute the same.

`python tests/mutants/run.py --out docs/results/mutants.json` makes the table. A file that
changes has other mutants then.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import draw
import run


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("room", draw.ROOMS)
def test_drawn_mutants_are_noticed(room: str) -> None:
    """In a process of its own, which doesn't import the package before it is mutated.

    That the tests pass without a mutant is shown by themselves.
    """
    command = [sys.executable, str(Path(run.__file__)), "--not-bare", "--room", room]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
        cwd=draw.ROOT,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-2000:]
    assert len(result.stdout.splitlines()) == run.EACH


def test_the_sample_is_a_function_of_seed_and_text() -> None:
    one, other = draw.draw("tasks", 20, 0), draw.draw("tasks", 20, 1)
    assert one == draw.draw("tasks", 20, 0)
    assert {m.name for m in one} != {m.name for m in other}
    assert len({m.name for m in one}) == 20


@pytest.mark.parametrize("room", ["style", "flow"])
def test_every_mutant_differs_from_its_file(room: str) -> None:
    """And compiles."""
    for mutant in draw.draw(room, 99, 0):
        plain = ast.unparse(ast.parse((draw.PACKAGE / mutant.file).read_text(encoding="utf-8")))
        assert mutant.source() != plain
        compile(mutant.source(), mutant.file, "exec")


def test_the_tests_of_every_room_exist() -> None:
    """Without one of them pytest runs none, and nobody would know whether a mutant is noticed."""
    for room, tests in run.TESTS.items():
        assert [test for test in tests if not (draw.ROOT / "tests" / test).exists()] == [], room


def test_a_mutant_that_was_declared_equivalent_exists() -> None:
    """A line that has changed since needs a new look."""
    for name in run.equivalent():
        file = draw.PACKAGE / name.partition(":")[0]
        assert name in {mutant.name for mutant in draw.mutants(file)}
