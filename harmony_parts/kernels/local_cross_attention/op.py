"""Both directions as torch operators: shapes for tracing, autograd with a backward operator each,
FLOP counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from harmony_parts.kernels.local_cross_attention import triton as kernels
from harmony_parts.layers.rope import table

REMEDY = 'use attention = "eager"'
REST = (
    "Tensor of_frame, Tensor of_latent, Tensor turn_frame, Tensor turn_latent, int window, bool"
    " half"
)


class Tables(NamedTuple):
    """Which latents meet which frames: int32 [F, 2] and [T, 2] of (first, end), and the most
    latents that meet one frame.
    """

    of_frame: Tensor
    of_latent: Tensor
    window: int

    @classmethod
    def of(cls, of_frame: Tensor, of_latent: Tensor, window: int, tokens: int = 1) -> Tables:
        """From tables whose latents have `tokens` tokens each, every one of which is a latent to
        the kernels.
        """
        if tokens > 1:
            of_frame, of_latent, window = (
                of_frame * tokens,
                of_latent.repeat_interleave(tokens, 0),
                window * tokens,
            )
        return cls(of_frame, of_latent, max(1, window))


def turns(angles: Tensor) -> Tensor:
    """Angles [n, P] -> cos and sin, float32 [n, P, 2], taken in float64."""
    return table(angles.double()).float().contiguous()


def _checked(
    q: Tensor, k: Tensor, v: Tensor, tables: Tables, angles: tuple[Tensor, Tensor], half: bool
) -> tuple[Any, ...]:
    """What `REST` names, once it is known that the kernels can do it."""
    tensors = (q, k, v)
    if q.device.type != "cuda" and not kernels.INTERPRETING:
        raise ValueError(
            "the Triton kernel of local attention needs a CUDA device, and the tensors are on"
            f" {q.device}: {REMEDY} (for tests, Triton's interpreter runs it on a CPU where"
            " TRITON_INTERPRET=1 is set before anything is imported)"
        )
    if q.dtype not in (torch.float32, torch.float16, torch.bfloat16) or {q.dtype} != {
        x.dtype for x in tensors
    }:
        raise ValueError(
            "q, k and v must all be float32, float16 or bfloat16, and are"
            f" {', '.join(str(x.dtype) for x in tensors)}; {REMEDY}"
        )
    if not 2 <= q.shape[-1] <= kernels.LARGEST:
        raise ValueError(
            f"the Triton kernel takes heads of 2 to {kernels.LARGEST} channels, and these have"
            f" {q.shape[-1]}; {REMEDY}"
        )
    if tables.window > kernels.WIDEST:
        raise ValueError(
            f"{tables.window} rows meet one frame, and the Triton kernel holds {kernels.WIDEST}:"
            f" narrow the windows, or {REMEDY}"
        )
    if not all(1 <= a.shape[-1] <= q.shape[-1] // 2 for a in angles):
        raise ValueError(
            f"heads of {q.shape[-1]} channels turn in 1 to {q.shape[-1] // 2} pairs, and the angles"
            f" have {angles[0].shape[-1]}"
        )
    if any(a.requires_grad for a in angles):
        raise ValueError(f"the Triton kernel has no gradient with respect to the angles; {REMEDY}")
    if forward_ad._current_level >= 0 and any(
        forward_ad.unpack_dual(x).tangent is not None for x in tensors
    ):
        # an operator without a formula would pass a tangent of zero on, without a word
        raise NotImplementedError(
            f"the Triton kernel of local attention has no forward-mode derivative (jvp); {REMEDY}"
        )
    return (
        tables.of_frame,
        tables.of_latent,
        turns(angles[0]),
        turns(angles[1]),
        tables.window,
        half,
    )


def frames_read(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tables: Tables,
    frame_angles: Tensor,
    latent_angles: Tensor,
    half: bool = False,
) -> Tensor:
    """`naive.frames_read` by the kernels: q [B, F, S, h, d], k and v [B, T, h, d] -> [B, F, S, h,
    d].
    """
    return _frames_read(q, k, v, *_checked(q, k, v, tables, (frame_angles, latent_angles), half))


def latents_read(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tables: Tables,
    frame_angles: Tensor,
    latent_angles: Tensor,
    half: bool = False,
) -> Tensor:
    """`naive.latents_read` by the kernels: q [B, T, h, d], k and v [B, F, S, h, d] -> [B, T, h,
    d].
    """
    return _latents_read(q, k, v, *_checked(q, k, v, tables, (frame_angles, latent_angles), half))[
        0
    ]


@torch.library.custom_op(
    "harmony_parts::frames_read",
    mutates_args=(),
    schema=f"(Tensor q, Tensor k, Tensor v, {REST}) -> Tensor",
)
def _frames_read(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> Tensor:
    q, k, v = _rows(q, k, v)
    return kernels.run_frames_read(_launch(q, k, *rest), k, v)


@torch.library.custom_op(
    "harmony_parts::frames_read_backward",
    mutates_args=(),
    schema=f"(Tensor do, Tensor q, Tensor k, Tensor v, {REST}) -> (Tensor, Tensor, Tensor)",
)
def _frames_read_backward(
    do: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    do, q, k, v = _rows(do, q, k, v)
    return kernels.run_frames_read_backward(_launch(q, k, *rest), k, v, do)


@torch.library.custom_op(
    "harmony_parts::latents_read",
    mutates_args=(),
    schema=f"(Tensor q, Tensor k, Tensor v, {REST}) -> (Tensor, Tensor)",
)
def _latents_read(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    q, k, v = _rows(q, k, v)
    return kernels.run_latents_read(_launch(k, q, *rest), k, v)


@torch.library.custom_op(
    "harmony_parts::latents_read_backward",
    mutates_args=(),
    schema=(
        f"(Tensor do, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, {REST}) -> (Tensor,"
        " Tensor, Tensor)"
    ),
)
def _latents_read_backward(
    do: Tensor, o: Tensor, lse: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    do, q, k, v = _rows(do, q, k, v)
    return kernels.run_latents_read_backward(_launch(k, q, *rest), k, v, o, lse, do)


def _rows(*tensors: Tensor) -> Iterator[Tensor]:
    """As the kernels read them."""
    return (x.contiguous() for x in tensors)


def _launch(
    frames: Tensor,
    latents: Tensor,
    of_frame: Tensor,
    of_latent: Tensor,
    turn_frame: Tensor,
    turn_latent: Tensor,
    window: int,
    half: bool,
) -> kernels.Launch:
    return kernels.Launch(
        frames, latents, (of_frame, of_latent), (turn_frame, turn_latent), window, half
    )


def _new(x: Tensor) -> Tensor:
    """The shape of x, contiguous, as the kernels write it."""
    return x.new_empty(x.shape)


@_frames_read.register_fake
def _(q: Tensor, *rest: Any) -> Tensor:
    return _new(q)


@_frames_read_backward.register_fake
def _(do: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _new(q), _new(k), _new(v)


@_latents_read.register_fake
def _(q: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return _new(q), q.new_empty(q.shape[:3], dtype=torch.float32)


@_latents_read_backward.register_fake
def _(
    do: Tensor, o: Tensor, lse: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return _new(q), _new(k), _new(v)


def _keep_frames(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:7])  # neither o nor a log-sum-exp is needed
    ctx.rest = inputs[7:]


def _back_frames(ctx: Any, do: Tensor) -> tuple[Any, ...]:
    return *_frames_read_backward(do, *ctx.saved_tensors, *ctx.rest), *[None] * 6


def _keep_latents(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*output, *inputs[:7])
    ctx.rest = inputs[7:]


def _back_latents(ctx: Any, do: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    return *_latents_read_backward(do, *ctx.saved_tensors, *ctx.rest), *[None] * 6


_frames_read.register_autograd(_back_frames, setup_context=_keep_frames)
_latents_read.register_autograd(_back_latents, setup_context=_keep_latents)


def _count(operator: Any, frames: int, products: int) -> None:
    """FLOPs: so many products of the frames' tokens (argument number `frames`) with the latents of
    the widest window. No padding counts.
    """

    def flops(*shapes: Any, **_: Any) -> int:
        return 2 * products * torch.Size(shapes[frames]).numel() * int(shapes[-2])

    register_flop_formula(operator)(flops)


_count(torch.ops.harmony_parts.frames_read, 0, 2)  # q k^T, p v
_count(torch.ops.harmony_parts.frames_read_backward, 1, 5)  # q k^T again, dv, dp, dq, dk
_count(torch.ops.harmony_parts.latents_read, 1, 2)
_count(torch.ops.harmony_parts.latents_read_backward, 4, 5)
