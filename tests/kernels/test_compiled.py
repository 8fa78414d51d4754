"""Kernels compiled without a GPU: no register spills, shared memory fits, tensor cores are used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton isn't installed here")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from harmony_parts.benchmarks.gpu_settings import SETTINGS  # noqa: E402
from harmony_parts.kernels.local_cross_attention import (  # noqa: E402
    backward,
    forward,
    launch,
)

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
pytestmark = [
    pytest.mark.skipif(
        not (TOOLS / "cuobjdump").is_file(), reason="this build of Triton ships no NVIDIA tools"
    ),
    pytest.mark.skipif(launch.INTERPRETING, reason="TRITON_INTERPRET is set: nothing is compiled"),
]

TYPES = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}
SHARED = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}  # bytes per program
# tensor-core instructions of sm_80, sm_90, sm_100; newer GPUs keep HMMA, only sm_90 has HGMMA
PRODUCTS = ("HMMA", "HGMMA", "UTCHMMA")
FLOAT32 = {"largest", "total", "partial", "lse", "frame_rotations", "latent_rotations"}
INT32 = {"latents_of_frame", "frames_of_latent"}
PARTIAL = {"frames_read_backward": {"dk", "dv"}, "latents_read_backward": {"dq"}}
MAIN = (
    "frames_read_forward",
    "frames_read_backward",
    "latents_read_forward",
    "latents_read_backward",
)


def signature_of(kernel: Any, dtype: torch.dtype, constants: dict[str, Any]) -> dict[str, str]:
    """The types of a kernel's arguments."""
    float32 = FLOAT32 | PARTIAL.get(kernel.__name__, set())

    def kind(argument: str) -> str:
        if argument in constants:
            return "constexpr"
        if argument in ("F", "T", "H"):
            return "i32"
        if argument in ("scale", "rsqrt_d"):
            return "fp32"
        return "*i32" if argument in INT32 else "*fp32" if argument in float32 else TYPES[dtype]

    return {argument: kind(argument) for argument in kernel.arg_names}


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def compiled(
    name: str, arch: int, dtype: torch.dtype, constants: dict[str, Any], folder: Path
) -> dict[str, int]:
    """Compile a kernel: registers, bytes of stack and shared memory, instruction counts."""
    kernel, constants = getattr(forward, name, None) or getattr(backward, name), dict(constants)
    options = {
        option: constants.pop(option)
        for option in ("num_warps", "num_stages")
        if option in constants
    }
    signature = signature_of(kernel, dtype, constants)
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, each in enumerate(signature.values())
        if each.startswith("*")
    }
    source = ASTSource(kernel, signature, constants, aligned)
    binary = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    file = folder / "kernel.cubin"
    file.write_bytes(binary.asm["cubin"])
    usage = output_of(TOOLS / "cuobjdump", "--dump-resource-usage", file)
    registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", usage)[0]
    code = output_of(TOOLS / "nvdisasm", "-c", file)
    instructions = (*PRODUCTS, "STL", "LDL", "RED", "ATOM", "ATOMG")
    return {
        "registers": int(registers),
        "stack": int(stack),
        "shared": binary.metadata.shared,
        **{each: len(re.findall(rf"\b{each}\b", code)) for each in instructions},
    }


def check(found: dict[str, int], arch: int) -> None:
    sys.stdout.write(f"{found}\n")
    assert found["stack"] == found["STL"] == found["LDL"] == 0
    assert found["registers"] <= 255
    assert found["shared"] <= SHARED[arch]
    # no atomics: the order of every sum is fixed
    assert found["RED"] == found["ATOM"] == found["ATOMG"] == 0


# type, head dimension, window
USUAL = [(torch.bfloat16, 128, 16), (torch.bfloat16, 128, 64), (torch.float32, 128, 16)]
MORE = [
    (torch.bfloat16, 128, 32),
    (torch.float16, 128, 16),
    (torch.bfloat16, 16, 16),
    (torch.float32, 128, 64),
]


@pytest.mark.parametrize("name", MAIN)
@pytest.mark.parametrize(
    ("arch", "dtype", "head", "window"),
    [(arch, *each) for arch in SHARED for each in (*USUAL, *(MORE if arch < 100 else ()))],
)
def test_default_tiles_compile_without_spills(
    name: str, arch: int, dtype: torch.dtype, head: int, window: int, tmp_path: Path
) -> None:
    """At Wan2.2's 5 s of 704 x 1280: 31 frames of 880 tokens, 24 heads."""
    constants = launch.constants(name, head, 880, window, head // 2, False, dtype, 24 * 31)
    found = compiled(name, arch, dtype, constants, tmp_path)
    check(found, arch)
    assert (sum(found[each] for each in PRODUCTS) > 0) is (dtype != torch.float32)


SPILLS_WITH_TWO_TILES = {
    "frames_read_backward": [(64, 4, 3, 1)],
    "latents_read_backward": [(64, 4, 2, 1), (32, 2, 3, 1)],
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", MAIN)
@pytest.mark.parametrize("window", [16, 17])
def test_settings_to_compare_on_a_gpu_compile_without_spills(
    name: str, window: int, tmp_path: Path
) -> None:
    """With one tile of 16 latents, and with 17, padded to 32, where three are known to spill."""
    known = SPILLS_WITH_TWO_TILES.get(name, []) if window == 17 else []
    plain = launch.constants(name, 128, 880, window, 64, False, torch.bfloat16, 24 * 31)
    spilt = []
    for setting in SETTINGS[name]:
        tiles = triton.cdiv(880, setting.tile * setting.split)
        changed = {"TILE": setting.tile, "SPLIT": setting.split, "TILES": tiles}
        changed |= {"num_warps": setting.warps, "num_stages": setting.stages}
        found = compiled(name, 90, torch.bfloat16, plain | changed, tmp_path)
        spilt += [setting] if found["stack"] or found["STL"] or found["LDL"] else []
        assert found["shared"] <= SHARED[90]
    assert spilt == known


@pytest.mark.parametrize("arch", list(SHARED))
@pytest.mark.parametrize("split", [1, 4])
def test_sums_over_frames_compile_without_spills(arch: int, split: int, tmp_path: Path) -> None:
    sizes = {"D": 128, "BD": 128, "W": 16, "SPLIT": split, "BH": 8, "num_warps": 4}
    for rotate_back in (True, False):
        constants = sizes | {"PAIRS": 64, "HALF": False, "ROTATE_BACK": rotate_back}
        check(compiled("sum_over_frames", arch, torch.bfloat16, constants, tmp_path), arch)
    check(compiled("merge_frames", arch, torch.bfloat16, sizes, tmp_path), arch)


@pytest.mark.parametrize("name", MAIN)
def test_odd_sizes_and_half_layout_compile_without_spills(name: str, tmp_path: Path) -> None:
    constants = launch.constants(name, 80, 221, 11, 30, True, torch.bfloat16, 8)
    check(compiled(name, 90, torch.bfloat16, constants, tmp_path), 90)
