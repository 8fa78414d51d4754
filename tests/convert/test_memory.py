"""Peak memory of converting a checkpoint and of loading a model, in a separate process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import toy_weights as toys

from harmony_parts.models.tensor_files import write_tensors

MB = 2**20
SIZES = {"width": 1024, "feed": 6144, "layers": 17}  # tensors of 4 to 25 MB

CONVERT = """
from harmony_parts.convert import convert
before = peak()
convert("wan", sys.argv[1], sys.argv[2], recipe=toys.WAN_RECIPE, shard=200 * 2**20)
print(before, peak())
"""
LOAD = """
from harmony_parts.generate.load import load
before = peak()
state = load(sys.argv[1]).weights.state_dict()
assert all(tensor.max().isfinite() for tensor in state.values())  # reads every number
print(before, peak(), sum(tensor.nbytes for tensor in state.values()))
"""
PEAK = """
import re, sys
sys.path.insert(0, {tests!r})
from helpers import toy_weights as toys
import torch
import harmony_parts.generate.pipeline
torch.set_num_threads(1)
def peak():  # getrusage would also count the parent's memory at the fork
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def run(script: str, *args: Path) -> list[int]:
    """The numbers that the script prints."""
    script = PEAK.format(tests=str(Path(__file__).parents[1])) + script
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


def checkpoint(folder: Path, **sizes: int) -> int:
    """Write a checkpoint of random numbers, one tensor at a time; returns its bytes."""
    shapes = {
        name: torch.empty(shape, device="meta") for name, shape in toys.wan_shapes(**sizes).items()
    }
    values = torch.randn(8 * MB)
    write_tensors(
        folder / "big.safetensors",
        shapes,
        lambda name: values[: shapes[name].numel()].view(shapes[name].shape),
    )
    return (folder / "big.safetensors").stat().st_size


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc"
)
def test_peak_memory_of_converting_and_loading_is_bounded(tmp_path: Path) -> None:
    """Two shards (4 GiB each by default; here 200 MiB) for a checkpoint of 1.4 GiB."""
    total = checkpoint(tmp_path, **SIZES)
    assert total > 1300 * MB
    before, after = run(CONVERT, tmp_path / "big.safetensors", tmp_path / "out")
    print(
        f"converting {total / MB:.0f} MiB: {(after - before) / MB:.0f} MiB beyond the"
        f" {before / MB:.0f} MiB of an idle process"
    )
    assert after - before < 400 * MB
    (tmp_path / "big.safetensors").unlink()
    before, after, size = run(LOAD, tmp_path / "out")
    print(f"loading {size / MB:.0f} MiB: {(after - before) / MB:.0f} MiB beyond an idle process")
    assert size > 1300 * MB
    assert size < after - before < size + 200 * MB
