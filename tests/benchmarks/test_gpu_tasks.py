"""The tasks of `make gpu` as commands on a CPU: toy sizes, kernels in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harmony_parts.benchmarks.gpu_results import RESULTS, read_lines
from harmony_parts.benchmarks.gpu_settings import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def figures(out: Path, *task: str, interpret: bool = False) -> list[dict[str, Any]]:
    """The lines that a task appended."""
    environment = os.environ | {"HARMONY_GPU_OUT": str(out), "HARMONY_GPU_DEVICE": "cpu"}
    if interpret:
        environment |= {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "harmony_parts.benchmarks.gpu_tasks", *task]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return read_lines(out / RESULTS)


def test_every_setting_is_tried(tmp_path: Path) -> None:
    """With each window, and all compute the same."""
    pytest.importorskip("triton", reason="Triton isn't installed here")
    found = figures(tmp_path, "tune", interpret=True)
    assert len(found) == 2 * sum(map(len, SETTINGS.values()))
    assert all(x["ok"] and x["same"] and x["ms"] > 0 for x in found), found


def test_kernels_compile_in_shares_and_the_smallest_problems_run(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton isn't installed here")
    assert figures(tmp_path, "compile", "0", "9", interpret=True) == []
    assert figures(tmp_path, "smallest", interpret=True) == []


def test_a_profile_has_the_time_of_each_kernel(tmp_path: Path) -> None:
    found = figures(tmp_path, "profile")
    assert [x["what"] for x in found] == ["forward", "training step without optimizer"]
    for x in found:
        assert x["ok"], x
        listed = [ms for *_, ms in x["kernels"]]
        assert listed == sorted(listed, reverse=True)
        assert 0.5 * x["ms"] < sum(listed) <= x["ms"]
    assert any("addmm" in name or "mm" in name for name, *_ in found[0]["kernels"])


def test_passes_are_timed_apart_and_together(tmp_path: Path) -> None:
    found = figures(tmp_path, "together")
    sizes = [x["latents"] for x in found]
    assert sizes == sorted(set(sizes))
    assert all(x["ok"] and x["apart_ms"] > 0 and x["together_ms"] > 0 for x in found)
