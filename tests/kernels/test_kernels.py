"""Runs the interpreter's tests in their own process; errors if the kernels can't run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.attention.protocol import Windows
from harmony_parts.attention.triton import Triton
from harmony_parts.cost.count import count_forward, count_training, prepared_inputs

pytest.importorskip("triton", reason="Triton isn't installed here")


# Each program of a kernel is Python here, and 36 ragged cases take as long as all others together:
# each half of some 30 s of CPU time is a process of its own. The limit is wall time, and on cores
# that other work keeps busy a process may have a tenth of one.
LIMIT = 600  # s


@pytest.mark.timeout(LIMIT + 20)
@pytest.mark.parametrize(
    ("which", "names", "file"),
    [
        ("not slow", "ragged", "test_local_cross_attention.py"),
        ("not slow", "not ragged", "test_local_cross_attention.py"),
        ("not slow", "", "test_operators.py"),
        pytest.param("slow", "", "test_operators.py", marks=pytest.mark.slow),
    ],
)
def test_kernels_under_the_interpreter(which: str, names: str, file: str) -> None:
    """Triton reads TRITON_INTERPRET when a kernel is defined, so it must be set before import."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        which,
        "-k",
        names,
        str(Path(__file__).parent / "interpreted" / file),
    ]
    done = subprocess.run(
        command,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
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


def test_it_is_counted_on_the_meta_device() -> None:
    """A pass as with eager; a training step saves less, and runs."""
    flops, saved = [], []
    for attention in ("eager", "triton"):
        recipe = read_recipe("demo", (f"denoiser.interaction.attention={attention}",))
        parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
        given = prepared_inputs(parts)
        flops.append(count_forward(parts.denoiser, given, tuple(given.av), frozenset()))
        saved.append(count_training(parts.denoiser, given, "nothing").saved)
    assert flops[0].total() == flops[1].total()
    assert saved[1] < saved[0]


def test_kernels_start_on_the_device_of_their_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on the current one: Triton doesn't look at the pointers."""
    from harmony_parts.kernels.local_cross_attention import launch

    current: list[str] = ["cuda:0"]
    started: list[str] = []

    @contextmanager
    def device(which: torch.device) -> Iterator[None]:
        current.append(str(which))
        yield
        current.pop()

    class Kernel:
        def __getitem__(self, grid: Any) -> Any:
            return lambda *_, **__: started.append(current[-1])

    monkeypatch.setattr(torch.cuda, "device", device)
    frames: Any = SimpleNamespace(shape=(1, 2, 3, 4, 16), device=torch.device("cuda:1"))
    latents, table = torch.zeros(1, 5, 4, 16), torch.zeros(2, 8, 2)
    calls = launch.Launch(frames, latents, (table, table), (table, table), 2, False)
    calls.per_frame(Kernel(), {"SPLIT": 1})
    calls.per_latent(Kernel(), 1, 16)
    assert started == ["cuda:1", "cuda:1"]


def test_windows_padded_to_32_are_loaded_ahead() -> None:
    """Three stages, so that loads are asynchronous, in both backward kernels."""
    from harmony_parts.kernels.local_cross_attention import launch

    for kernel in ("frames_read_backward", "latents_read_backward"):
        assert launch.config(kernel, 128, 32, torch.bfloat16) == (32, 4, 3)
