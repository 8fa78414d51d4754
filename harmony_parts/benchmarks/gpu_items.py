"""The items of `make gpu`, in the order of their worth."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

HERE = "harmony_parts.benchmarks."
FOREIGN = tuple(
    f"plugins/harmony-{name}/tests/test_{name.replace('-', '_')}_gpu.py"
    for name in ("ltx2", "cosmos3", "kandinsky6", "minimax-h3")
)
TRITON = ("--set", "denoiser.interaction.attention=triton")


class Item(NamedTuple):
    """One question: a command, the seconds that it may take, and those that it should take.

    `cuda`: only with a GPU.
    """

    name: str
    limit: float
    command: tuple[str, ...]
    cuda: bool = True
    env: Mapping[str, str] = {}
    expected: float = 0.0  # estimated, for an H100 or H200 with 16 CPU cores


def items(out: Path, jobs: int, python: str = sys.executable, rehearse: bool = False) -> list[Item]:
    """All items; `rehearse`: on a CPU, with toy sizes and kernels in Triton's interpreter."""
    module = (python, "-m")
    workers = ("-n", "0" if rehearse else str(jobs))
    tests = (*module, "pytest", "-q", "-p", "no:cacheprovider", *workers)
    task = (*module, HERE + "gpu_tasks")
    local: tuple[str, ...] = (*module, HERE + "local_attention", "--device")
    local += ("cpu", "--quick") if rehearse else ("cuda", "--runs", "20")
    model: tuple[str, ...] = (*module, HERE + "model", "--device")
    model += ("cpu", "--recipe", "demo", "--quick") if rehearse else ("cuda",)
    whole = () if rehearse else TRITON  # its kernels aren't run at full size in the interpreter
    six, four, deep = (
        () if rehearse else ("--layers", layers, "--steps", steps)
        for layers, steps in (("6", "4"), ("4", "4"), ("30", "2"))
    )
    kernels: tuple[str, ...] = ("tests/gpu/test_kernels.py",)
    kernels += ("-k", "contract or (ragged and 7-3-True-dtype0)") if rehearse else ()
    parity, timed = ("tests/gpu/test_cuda.py",), ("-k", "time_and_memory")
    others = ("-k", "not time_and_memory and not lowers_the_peak" if rehearse
              else "not time_and_memory")  # fmt: skip
    several = (
        f"for k in $(seq 0 {jobs - 1}); do {python} -m {HERE}gpu_tasks compile $k {jobs} & done;"
        " wait"
    )
    checked = ("compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9")
    everywhere = {"HARMONY_GPU_REPORT": str(out / "steps.jsonl")}
    everywhere |= {"HARMONY_GPU_DEVICE": "cpu" if rehearse else "cuda"}
    interpret = everywhere | ({"TRITON_INTERPRET": "1"} if rehearse else {})
    uncached = interpret | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    cuda = not rehearse

    def json(name: str) -> tuple[str, str]:
        return "--json", str(out / f"{name}.json")

    # name, limit, command, only with a GPU, environment, expected
    return [
        Item("smoke", 60, (*task, "smoke"), False, everywhere, 25),
        Item("doctor", 20, (*module, "harmony_parts", "doctor"), False, everywhere, 8),
        Item("kernels", 110, (*tests, *kernels), cuda, interpret, 45),
        Item("local", 60, (*local, "--no-compile", *json("local-attention")), cuda, everywhere, 30),
        Item("compile", 45, ("bash", "-c", several), cuda, interpret, 25),
        Item("tune", 45, (*task, "tune"), cuda, interpret, 20),
        Item("model", 50, (*model, *json("model-6"), *six), cuda, everywhere, 30),
        Item("model-triton", 50, (*model, *json("model-6-triton"), *six, *whole), cuda,
             everywhere, 25),
        Item("mixed", 60, (*model, *json("model-mixed"), *four, *whole, "--mixed"), cuda,
             everywhere, 30),
        Item("profile", 40, (*task, "profile"), cuda, everywhere, 25),
        Item("parity", 80, (*tests, *parity, *others), cuda, everywhere, 45),
        Item("tiny", 60, (*tests, "tests/gpu/test_tiny_models.py"), cuda, everywhere, 35),
        Item("sharded", 60, (*model, *json("model-sharded"), *four, *whole, "--mixed",
                             "--sharded"), cuda, everywhere, 30),
        Item("foreign", 75, (*tests, *FOREIGN), cuda, everywhere, 45),
        Item("steps", 60, (*tests, *parity, *timed, "-n", "0"), cuda, everywhere, 35),
        Item("together", 40, (*task, "together"), cuda, everywhere, 25),
        Item("sanitizer", 75, (*(() if rehearse else checked), *task, "smallest"), cuda, uncached,
             45),
        Item("whole", 100, (*model, *json("model"), *deep, *whole), cuda, everywhere, 80),
        Item("whole-eager", 100, (*model, *json("model-eager"), *deep), cuda, everywhere, 85),
        Item("compiled", 90, (*local, *json("local-attention-compiled")), cuda, everywhere, 75),
    ]  # fmt: skip
