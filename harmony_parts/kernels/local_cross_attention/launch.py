"""Launches of the kernels: tile sizes, grids, buffers and the order of the steps.

One side has frames (F of S tokens, streamed once), the other latents (T of one token; at most W of
them meet a frame, and stay on the chip). A program handles one head of one frame, or of a part of
it. No atomics: every number is stored once, and sums have a fixed order.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony_parts.kernels.local_cross_attention import backward, forward

INTERPRETING = triton.knobs.runtime.interpret
LOG2E = 1.4426950408889634
MAX_WINDOW = 64  # latents that may meet one frame
MAX_HEAD_DIM = 128


def on_device(x: Tensor) -> AbstractContextManager[Any]:
    """Make the tensor's GPU the current one: Triton launches there, wherever the pointers lead."""
    return torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext()


class Config(NamedTuple):
    """Tokens of a frame per tile, and the compiler's options."""

    tile: int
    warps: int
    stages: int


def allocate(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised buffer for a kernel to fill; elements that it skips are never read."""
    return torch.empty(shape, device=like.device, dtype=dtype or like.dtype)


def config(kernel: str, head_dim: int, window: int, dtype: torch.dtype) -> Config:
    """Untimed defaults that spill no registers on sm_80, sm_90 and sm_100 (test_compiled.py)."""
    if INTERPRETING:
        return Config(16, 4, 1)
    if dtype == torch.float32:  # no tensor cores: IEEE products, and twice the bytes
        return Config(16, 8 if window <= 32 else 16, 1)
    if kernel.endswith("backward"):
        return {16: Config(32, 4, 2), 32: Config(32, 4, 3)}.get(window, Config(32, 8, 1))
    return Config(64, 4, 3 if window <= 32 else 2)


def padded(n: int) -> int:
    """The smallest power of 2 of at least n and 16, which `tl.dot` needs as a side."""
    return max(16, triton.next_power_of_2(n))


def splits(programs: int, tiles: int) -> int:
    """Parts per frame: 2 or 4 if one program per frame and head would leave a large GPU idle.

    Depends only on shapes, so results are bit-reproducible.
    """
    wanted = 1 if programs >= 512 else 2 if programs >= 256 else 4
    return max(1, min(wanted, tiles))  # a frame without tokens is one part


def constants(
    kernel: str,
    head_dim: int,
    tokens: int,
    window: int,
    pairs: int,
    half: bool,
    dtype: torch.dtype,
    programs: int,
) -> dict[str, Any]:
    """The constexpr arguments and options of one of the four per-frame kernels."""
    tile, warps, stages = config(kernel, padded(head_dim), padded(window), dtype)
    split = splits(programs, triton.cdiv(tokens, tile))
    dot = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}[
        torch.float32 if INTERPRETING else dtype
    ]
    return {
        "S": tokens, "D": head_dim, "BD": padded(head_dim), "W": padded(window),
        "PAIRS": pairs, "HALF": half,
        "SPLIT": split, "TILE": tile, "TILES": triton.cdiv(tokens, tile * split), "DOT": dot,
        "num_warps": warps, "num_stages": stages,
    }  # fmt: skip


class Launch:
    """The shapes and tables that all kernels of one call share."""

    def __init__(
        self,
        frames: Tensor,
        latents: Tensor,
        windows: tuple[Tensor, Tensor],
        rotations: tuple[Tensor, Tensor],
        window: int,
        half: bool,
    ) -> None:
        self.frames, self.latents = frames, latents
        self.windows, self.rotations = windows, rotations
        self.b, self.f, self.s, self.h, self.d = frames.shape
        self.t, self.window, self.half = latents.shape[1], window, half
        self.pairs = rotations[0].shape[1]
        self.scale = LOG2E / self.d**0.5

    def constants(self, kernel: str) -> dict[str, Any]:
        """The constants of a per-frame kernel."""
        programs = self.b * self.f * self.h
        return constants(
            kernel,
            self.d,
            self.s,
            self.window,
            self.pairs,
            self.half,
            self.frames.dtype,
            programs,
        )

    def per_frame(
        self,
        kernel: Any,
        constants: dict[str, Any],
        *tensors: Tensor,
        rsqrt_d: tuple[float, ...] = (),
    ) -> None:
        """Run one program per head, part and frame."""
        if grid := self.b * self.f * self.h * constants["SPLIT"]:
            with on_device(self.frames):
                kernel[(grid,)](
                    *tensors,
                    self.windows[0],
                    *self.rotations,
                    self.f,
                    self.t,
                    self.h,
                    self.scale,
                    *rsqrt_d,
                    **constants,
                )

    def per_latent(
        self,
        kernel: Any,
        split: int,
        width: int,
        *tensors: Tensor,
        rotations: tuple[Tensor, ...] = (),
        **more: Any,
    ) -> None:
        """Run one program per latent and 8 heads."""
        heads = min(8 if not INTERPRETING else 64, triton.next_power_of_2(self.h))
        if self.b * self.t:
            grid = (self.b * self.t, triton.cdiv(self.h, heads))
            sizes = {"D": self.d, "BD": padded(self.d), "W": width, "SPLIT": split, "BH": heads}
            with on_device(self.frames):
                kernel[grid](
                    *tensors,
                    *self.windows,
                    *rotations,
                    self.f,
                    self.t,
                    self.h,
                    **sizes,
                    **more,
                    num_warps=4,
                )

    def partial(self, constants: dict[str, Any], *last: int) -> Tensor:
        """A float32 buffer [B, F, SPLIT, h, W, ...] for each program's results per latent."""
        return allocate(
            (self.b, self.f, constants["SPLIT"], self.h, constants["W"], *last),
            self.frames,
            torch.float32,
        )

    def summed(self, partial: Tensor, rotate_back: bool) -> Tensor:
        """Sum the partials of each latent over its frames: [B, T, h, d]."""
        out = allocate(self.latents.shape, self.latents)
        split, width = partial.shape[2], partial.shape[4]
        self.per_latent(
            backward.sum_over_frames,
            split,
            width,
            partial,
            out,
            rotations=self.rotations,
            PAIRS=self.pairs,
            HALF=self.half,
            ROTATE_BACK=rotate_back,
        )
        return out


def run_frames_read(launch: Launch, k: Tensor, v: Tensor) -> Tensor:
    """o [B, F, S, h, d]; the launch's frames are q."""
    q = launch.frames
    o = allocate(q.shape, q)
    launch.per_frame(
        forward.frames_read_forward, launch.constants("frames_read_forward"), q, k, v, o
    )
    return o


def run_frames_read_backward(
    launch: Launch, k: Tensor, v: Tensor, do: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv."""
    q, c = launch.frames, launch.constants("frames_read_backward")
    dq, dk, dv = allocate(do.shape, do), launch.partial(c, launch.d), launch.partial(c, launch.d)
    tensors = q, k, v, do, dq, dk, dv
    launch.per_frame(backward.frames_read_backward, c, *tensors, rsqrt_d=(launch.d**-0.5,))
    return dq, launch.summed(dk, rotate_back=True), launch.summed(dv, rotate_back=False)


def run_latents_read(launch: Launch, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """o [B, T, h, d] and lse float32 [B, T, h]; the launch's latents are q."""
    q, c = launch.latents, launch.constants("latents_read_forward")
    largest, total, partial = launch.partial(c), launch.partial(c), launch.partial(c, launch.d)
    launch.per_frame(forward.latents_read_forward, c, q, k, v, largest, total, partial)
    o = allocate(q.shape, q)
    lse = allocate(q.shape[:3], o, torch.float32)
    launch.per_latent(forward.merge_frames, c["SPLIT"], c["W"], largest, total, partial, o, lse)
    return o, lse


def run_latents_read_backward(
    launch: Launch, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, do: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv."""
    q, c = launch.latents, launch.constants("latents_read_backward")
    dq, dk, dv = launch.partial(c, launch.d), allocate(k.shape, k), allocate(v.shape, v)
    tensors = q, k, v, o, lse, do, dq, dk, dv
    launch.per_frame(backward.latents_read_backward, c, *tensors, rsqrt_d=(launch.d**-0.5,))
    return launch.summed(dq, rotate_back=True), dk, dv
