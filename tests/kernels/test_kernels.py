"""Runs the interpreter's tests in their own process; errors if the kernels can't run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harmony_parts.attention.protocol import Windows
from harmony_parts.attention.triton import Triton

pytest.importorskip("triton", reason="Triton isn't installed here")


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_kernels_under_the_interpreter(which: str) -> None:
    """Triton reads TRITON_INTERPRET when a kernel is defined, so it must be set before import."""
    folder = Path(__file__).parent / "interpreted"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        which,
        str(folder),
    ]
    done = subprocess.run(
        command,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " skipped" not in done.stdout, done.stdout


def test_error_without_a_gpu_names_the_eager_backend() -> None:
    q = torch.zeros(1, 2, 3, 1, 16)
    seen = Windows.of(torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64), 2)
    with pytest.raises(ValueError, match=r'CUDA.*on cpu: use attention = "eager"'):
        Triton()(q, q[:, :, :1], q[:, :, :1], seen, torch.zeros(2, 8), torch.zeros(2, 8))


def test_error_without_triton_names_the_eager_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "harmony_parts.kernels.local_cross_attention.op", None)
    q = torch.zeros(1, 2, 3, 1, 16)
    seen = Windows.of(torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64), 2)
    with pytest.raises(ValueError, match=r'use attention = "eager"'):
        Triton()(q, q[:, :, :1], q[:, :, :1], seen, torch.zeros(2, 8), torch.zeros(2, 8))
