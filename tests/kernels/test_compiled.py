"""The kernels compiled for GPUs that needn't be here: registers don't spill, shared memory
suffices, products are done by tensor cores.
"""

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

from harmony_parts.kernels.local_cross_attention import triton as kernels  # noqa: E402

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
pytestmark = [
    pytest.mark.skipif(
        not (TOOLS / "cuobjdump").is_file(), reason="this build of Triton brings no NVIDIA tools"
    ),
    pytest.mark.skipif(kernels.INTERPRETING, reason="TRITON_INTERPRET is set: nothing is compiled"),
]

TYPES = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}
SHARED = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}  # bytes that a program may have
# tensor cores of sm_80, sm_90 and sm_100, each of which has the earlier ones too, but for HGMMA
PRODUCTS = ("HMMA", "HGMMA", "UTCHMMA")
FLOAT32 = {"largest", "total", "partial", "lse", "turn_frame", "turn_latent"}
PARTIAL = {"frames_read_backward": {"dk", "dv"}, "latents_read_backward": {"dq"}}
MAIN = (
    "frames_read_forward",
    "frames_read_backward",
    "latents_read_forward",
    "latents_read_backward",
)


def compiled(
    name: str, arch: int, dtype: torch.dtype, constants: dict[str, Any], folder: Path
) -> dict[str, int]:
    """Registers, bytes of stack and shared memory, and counts of instructions."""
    kernel, constants = getattr(kernels, name), dict(constants)
    options = {
        option: constants.pop(option)
        for option in ("num_warps", "num_stages")
        if option in constants
    }
    float32 = FLOAT32 | PARTIAL.get(name, set())

    def kind(argument: str) -> str:
        if argument in constants:
            return "constexpr"
        if argument in ("F", "T", "H"):
            return "i32"
        if argument in ("scale", "root"):
            return "fp32"
        return (
            "*i32"
            if argument.startswith("of_")
            else "*fp32"
            if argument in float32
            else TYPES[dtype]
        )

    signature = {argument: kind(argument) for argument in kernel.arg_names}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, each in enumerate(signature.values())
        if each.startswith("*")
    }
    source = ASTSource(kernel, signature, constants, aligned)
    binary = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    file = folder / "kernel.cubin"
    file.write_bytes(binary.asm["cubin"])
    usage = subprocess.run(
        [TOOLS / "cuobjdump", "--dump-resource-usage", file],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    code = subprocess.run(
        [TOOLS / "nvdisasm", "-c", file], capture_output=True, text=True, check=True
    ).stdout
    registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", usage)[0]
    counts = {
        each: len(re.findall(rf"\b{each}\b", code))
        for each in (*PRODUCTS, "STL", "LDL", "RED", "ATOM", "ATOMG")
    }
    return {
        "registers": int(registers),
        "stack": int(stack),
        "shared": binary.metadata.shared,
        **counts,
    }


def check(found: dict[str, int], arch: int) -> None:
    sys.stdout.write(f"{found}\n")
    assert found["stack"] == found["STL"] == found["LDL"] == 0
    assert found["registers"] <= 255
    assert found["shared"] <= SHARED[arch]
    # nothing is added in an order that isn't fixed
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
def test_defaults_fit(
    name: str, arch: int, dtype: torch.dtype, head: int, window: int, tmp_path: Path
) -> None:
    """880 tokens a frame, 24 heads and 31 frames: Wan2.2's 5 seconds at 704 x 1280."""
    constants = kernels.constants(name, head, 880, window, head // 2, False, dtype, 24 * 31)
    found = compiled(name, arch, dtype, constants, tmp_path)
    check(found, arch)
    assert (sum(found[each] for each in PRODUCTS) > 0) is (dtype != torch.float32)


@pytest.mark.parametrize("arch", list(SHARED))
@pytest.mark.parametrize("split", [1, 4])
def test_sums_fit(arch: int, split: int, tmp_path: Path) -> None:
    sizes = {"D": 128, "BD": 128, "W": 16, "SPLIT": split, "BH": 8, "num_warps": 4}
    for turned in (True, False):
        constants = sizes | {"PAIRS": 64, "HALF": False, "TURNED": turned}
        check(compiled("gather", arch, torch.bfloat16, constants, tmp_path), arch)
    check(compiled("merge", arch, torch.bfloat16, sizes, tmp_path), arch)


@pytest.mark.parametrize("name", MAIN)
def test_odd_sizes_and_half_layout_fit(name: str, tmp_path: Path) -> None:
    constants = kernels.constants(name, 80, 221, 11, 30, True, torch.bfloat16, 8)
    check(compiled(name, 90, torch.bfloat16, constants, tmp_path), 90)
