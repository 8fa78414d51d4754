"""SIGKILL at any moment, then --resume: log and weights are bit-equal to an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("kills")  # one fixture for all

SCRIPT = Path(__file__).parents[1] / "helpers" / "killed_run.py"


def train(*jobs: dict[str, Any]) -> list[dict[str, Any]]:
    """Run jobs of killed_run.py in one process; returns their results."""
    jobs = tuple({"event": None, "seconds": None, **job, "out": str(job["out"])} for job in jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HARMONY_PARTS_PLUGINS": "none"}
    done = subprocess.run(
        [sys.executable, SCRIPT, json.dumps(jobs)],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return results


def result(out: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The weights' file, and the log without the seconds per step."""
    lines = [
        json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return (out / "model" / "model.safetensors").read_bytes(), [
        {k: v for k, v in line.items() if k != "seconds_per_step"} for line in lines
    ]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("straight") / "run"
    (outcome,) = train({"out": out})
    assert not outcome["killed"]
    assert outcome["events"] > 100
    return {**outcome, "result": result(out)}


def check(kills: int, straight: dict[str, Any], folder: Path, seed: int) -> None:
    """Kill that many runs at random moments, every second one twice, and resume each to its end."""
    generator, jobs = random.Random(seed), []
    for number in range(kills):
        out = folder / str(number)
        for _ in range(1 + number % 2):
            by_event = {"event": generator.randint(1, straight["events"])}
            by_time = {"seconds": generator.uniform(0, straight["seconds"])}
            jobs.append({"out": out, **(by_event if generator.random() < 0.6 else by_time)})
        jobs.append({"out": out})
    outcomes = train(*jobs)
    for job, done in zip(jobs, outcomes, strict=True):
        if len(job) == 1:
            assert not done["killed"]
            where = [
                {k: v for k, v in other.items() if k != "out"}
                for other in jobs
                if other["out"] == job["out"]
            ]
            assert result(job["out"]) == straight["result"], f"killed at {where}"
            assert not list(job["out"].glob("**/.*.part*")), "leftovers are removed"
    assert sum(done["killed"] for done in outcomes) >= kills * 0.8


def test_three_kills(straight: dict[str, Any], tmp_path: Path) -> None:
    check(3, straight, tmp_path, seed=3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills(straight: dict[str, Any], tmp_path: Path) -> None:
    check(20, straight, tmp_path, seed=20)
