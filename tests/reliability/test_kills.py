"""SIGKILL anywhere, then --resume: the log and the weights of a run that was left alone, bit for
bit.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "helpers" / "killed_run.py"


def train(*jobs: dict[str, Any]) -> list[dict[str, Any]]:
    """Do jobs of killed_run.py in one process, and tell how they went."""
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
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def result(out: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The weights' file, and the log without what the clock says."""
    lines = [
        json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return (out / "model" / "model.safetensors").read_bytes(), [
        {k: v for k, v in line.items() if k != "seconds_per_step"} for line in lines
    ]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that is left alone."""
    out = tmp_path_factory.mktemp("straight") / "run"
    (told,) = train({"out": out})
    assert not told["killed"]
    assert told["events"] > 100
    return {**told, "result": result(out)}


def check(kills: int, straight: dict[str, Any], folder: Path, seed: int) -> None:
    """Kill that many runs at random places, every second one once more while it goes on, and let
    each come to its end.
    """
    chance, jobs = random.Random(seed), []
    for number in range(kills):
        out = folder / str(number)
        for _ in range(1 + number % 2):
            by_event = {"event": chance.randint(1, straight["events"])}
            by_time = {"seconds": chance.uniform(0, straight["seconds"])}
            jobs.append({"out": out, **(by_event if chance.random() < 0.6 else by_time)})
        jobs.append({"out": out})
    told = train(*jobs)
    for job, done in zip(jobs, told, strict=True):
        if len(job) == 1:
            assert not done["killed"]
            where = [
                {k: v for k, v in other.items() if k != "out"}
                for other in jobs
                if other["out"] == job["out"]
            ]
            assert result(job["out"]) == straight["result"], f"killed at {where}"
            assert not list(job["out"].glob("**/.*.part*")), "what a killed run left is cleared up"
    assert sum(done["killed"] for done in told) >= kills * 0.8


def test_three_kills(straight: dict[str, Any], tmp_path: Path) -> None:
    check(3, straight, tmp_path, seed=3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills(straight: dict[str, Any], tmp_path: Path) -> None:
    check(20, straight, tmp_path, seed=20)
