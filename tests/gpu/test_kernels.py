"""The kernels on a GPU: `make gpu`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("triton", reason="Triton isn't installed here")
from helpers.gpu_device import DEVICE, NEEDS_DEVICE
from helpers.kernel_problems import DIRECTIONS, RAGGED, Problem, check, pairs_of

from harmony_parts.attention.eager import Eager
from harmony_parts.attention.protocol import LocalAttention
from harmony_parts.attention.triton import Triton
from harmony_parts.benchmarks.local_attention import main
from harmony_parts.testing.contracts.attention import check_attention

pytestmark = NEEDS_DEVICE
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("head", "pairs", "half"),
    [(16, 8, False), (24, 10, True), (64, 32, True), (128, 64, False), (7, 3, True)],
)
def test_ragged_windows(
    direction: str, dtype: torch.dtype, head: int, pairs: int, half: bool
) -> None:
    check(
        Problem(
            direction,
            3,
            221,
            7,
            RAGGED[direction],
            batch=2,
            heads=3,
            head=head,
            pairs=pairs,
            half=half,
            dtype=dtype,
            device=DEVICE,
        )
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_bit_reproducible(direction: str, dtype: torch.dtype) -> None:
    """31 frames and 157 latents (5 s of Wan2.2 and MMAudio), windows of 3 and 11."""
    rate = 157 / 31
    if direction == "frames_read":
        windows = pairs_of(
            [max(0, int(f * rate) - 3) for f in range(31)],
            [min(157, int(f * rate) + 8) for f in range(31)],
        )
    else:
        windows = pairs_of(
            [max(0, int(j / rate) - 1) for j in range(157)],
            [min(31, int(j / rate) + 2) for j in range(157)],
        )
    problem = Problem(
        direction, 31, 220, 157, windows, heads=4, head=128, pairs=64, dtype=dtype, device=DEVICE
    )
    for first, second in zip(problem.kernel(), problem.kernel(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("attention", [Eager(), Triton()])
def test_backends_meet_the_contract(attention: LocalAttention) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    check_attention(attention, device=DEVICE)


def test_benchmark_runs(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["--device", DEVICE, "--quick", "--json", str(tmp_path / "report.json")]
    )
    assert done.exit_code == 0, done.output
