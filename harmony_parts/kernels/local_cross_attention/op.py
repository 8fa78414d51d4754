"""Both directions as torch operators with fake shapes, backward operators and FLOP formulas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula
from torch.utils.weak import WeakTensorKeyDictionary

from harmony_parts.kernels.local_cross_attention import launch
from harmony_parts.layers.rope import table

REMEDY = 'use attention = "eager"'
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TABLES = (
    "Tensor latents_of_frame, Tensor frames_of_latent, Tensor frame_angles, Tensor latent_angles,"
    " int window, bool half"
)


class Tables(NamedTuple):
    """Which latents meet which frames, as ranges [first, end), and the most latents per frame."""

    latents_of_frame: Tensor  # int32 [F, 2]
    frames_of_latent: Tensor  # int32 [T, 2]
    window: int

    @classmethod
    def of(
        cls, latents_of_frame: Tensor, frames_of_latent: Tensor, window: int, tokens: int = 1
    ) -> Tables:
        """From tables whose latents have `tokens` tokens; the kernels treat each as a latent."""
        if tokens > 1:
            latents_of_frame, window = latents_of_frame * tokens, window * tokens
            frames_of_latent = frames_of_latent.repeat_interleave(tokens, 0)
        return cls(latents_of_frame, frames_of_latent, max(1, window))


_ROTATIONS = WeakTensorKeyDictionary()
"""Tensor of angles -> its version and its table of cos and sin, for as long as the tensor lives.

A model's angles are the same in every layer and at every step; making a table takes about ten small
kernels.
"""


def rotations(angles: Tensor) -> Tensor:
    """Angles [n, P] -> cos and sin, computed in float64, as float32 [n, P, 2].

    Made once per tensor, and again if the tensor has been changed in place. Inference tensors don't
    count their changes, so theirs are made in every call.
    """
    if angles.is_inference() or torch.is_inference_mode_enabled():
        return _rotations(angles)
    version, made = _ROTATIONS.get(angles, (None, None))
    if made is None or version != angles._version:
        made = _rotations(angles)
        _ROTATIONS[angles] = angles._version, made
    return made


def _rotations(angles: Tensor) -> Tensor:
    return table(angles.double()).float().contiguous()


def _check_tensors(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raises ValueError if the kernels don't support the device, types or head dimension."""
    # tensors on the meta device are only counted
    if q.device.type not in ("cuda", "meta") and not launch.INTERPRETING:
        raise ValueError(
            "the Triton kernel of local attention needs a CUDA device, but the tensors are on"
            f" {q.device}: {REMEDY} (tests can run it in Triton's interpreter on a CPU by setting"
            " TRITON_INTERPRET=1 before anything is imported)"
        )
    if q.dtype not in DTYPES or not q.dtype == k.dtype == v.dtype:
        raise ValueError(
            "q, k and v must all be float32, float16 or bfloat16, but are"
            f" {q.dtype}, {k.dtype}, {v.dtype}; {REMEDY}"
        )
    if not 2 <= q.shape[-1] <= launch.MAX_HEAD_DIM:
        raise ValueError(
            f"the Triton kernel supports head dimensions of 2 to {launch.MAX_HEAD_DIM}, not"
            f" {q.shape[-1]}; {REMEDY}"
        )


def _check_tables(head_dim: int, window: int, angles: tuple[Tensor, Tensor]) -> None:
    """Raises ValueError if windows are too wide, or angles have too many pairs or a gradient."""
    if window > launch.MAX_WINDOW:
        raise ValueError(
            f"a window holds {window} rows, and the Triton kernel at most {launch.MAX_WINDOW}:"
            f" narrow the windows, or {REMEDY}"
        )
    if not all(1 <= a.shape[-1] <= head_dim // 2 for a in angles):
        raise ValueError(
            f"heads of {head_dim} channels need angles for 1 to {head_dim // 2} pairs, not"
            f" {angles[0].shape[-1]}"
        )
    if any(a.requires_grad for a in angles):
        raise ValueError(f"the Triton kernel has no gradient with respect to the angles; {REMEDY}")


def _check_no_jvp(*tensors: Tensor) -> None:
    """Raises NotImplementedError if a tensor has a tangent: torch would silently make it zero."""
    if forward_ad._current_level >= 0 and any(
        forward_ad.unpack_dual(x).tangent is not None for x in tensors
    ):
        raise NotImplementedError(
            f"the Triton kernel of local attention has no forward-mode derivative (jvp); {REMEDY}"
        )


def _autocast(*tensors: Tensor) -> Iterator[Tensor]:
    """The tensors in the type of autocast where it is on, as torch's own attention takes them."""
    kind = tensors[0].device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return iter(tensors)
    dtype = torch.get_autocast_dtype(kind)
    return (x.to(dtype) for x in tensors)


def _arguments(
    q: Tensor, k: Tensor, v: Tensor, tables: Tables, angles: tuple[Tensor, Tensor], half: bool
) -> tuple[Any, ...]:
    """The arguments that `TABLES` names, after all checks."""
    _check_tensors(q, k, v)
    _check_tables(q.shape[-1], tables.window, angles)
    _check_no_jvp(q, k, v)
    return tables.latents_of_frame, tables.frames_of_latent, *angles, tables.window, half


def frames_read(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tables: Tables,
    frame_angles: Tensor,
    latent_angles: Tensor,
    half: bool = False,
) -> Tensor:
    """`naive.frames_read` by the kernels.

    q [B, F, S, h, d], k and v [B, T, h, d] -> [B, F, S, h, d]. Raises ValueError if the kernels
    can't run on these arguments, NotImplementedError in forward-mode differentiation.
    """
    q, k, v = _autocast(q, k, v)
    return _frames_read(q, k, v, *_arguments(q, k, v, tables, (frame_angles, latent_angles), half))


def latents_read(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tables: Tables,
    frame_angles: Tensor,
    latent_angles: Tensor,
    half: bool = False,
) -> Tensor:
    """`naive.latents_read` by the kernels.

    q [B, T, h, d], k and v [B, F, S, h, d] -> [B, T, h, d]. Raises as `frames_read`.
    """
    q, k, v = _autocast(q, k, v)
    return _latents_read(
        q, k, v, *_arguments(q, k, v, tables, (frame_angles, latent_angles), half)
    )[0]


@torch.library.custom_op(
    "harmony_parts::frames_read",
    mutates_args=(),
    schema=f"(Tensor q, Tensor k, Tensor v, {TABLES}) -> Tensor",
)
def _frames_read(q: Tensor, k: Tensor, v: Tensor, *tables: Any) -> Tensor:
    q, k, v = _contiguous(q, k, v)
    return launch.run_frames_read(_launch_of(q, k, *tables), k, v)


@torch.library.custom_op(
    "harmony_parts::frames_read_backward",
    mutates_args=(),
    schema=f"(Tensor do, Tensor q, Tensor k, Tensor v, {TABLES}) -> (Tensor, Tensor, Tensor)",
)
def _frames_read_backward(
    do: Tensor, q: Tensor, k: Tensor, v: Tensor, *tables: Any
) -> tuple[Tensor, Tensor, Tensor]:
    do, q, k, v = _contiguous(do, q, k, v)
    return launch.run_frames_read_backward(_launch_of(q, k, *tables), k, v, do)


@torch.library.custom_op(
    "harmony_parts::latents_read",
    mutates_args=(),
    schema=f"(Tensor q, Tensor k, Tensor v, {TABLES}) -> (Tensor, Tensor)",
)
def _latents_read(q: Tensor, k: Tensor, v: Tensor, *tables: Any) -> tuple[Tensor, Tensor]:
    q, k, v = _contiguous(q, k, v)
    return launch.run_latents_read(_launch_of(k, q, *tables), k, v)


@torch.library.custom_op(
    "harmony_parts::latents_read_backward",
    mutates_args=(),
    schema=(
        f"(Tensor do, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, {TABLES}) -> (Tensor,"
        " Tensor, Tensor)"
    ),
)
def _latents_read_backward(
    do: Tensor, o: Tensor, lse: Tensor, q: Tensor, k: Tensor, v: Tensor, *tables: Any
) -> tuple[Tensor, Tensor, Tensor]:
    do, q, k, v = _contiguous(do, q, k, v)
    return launch.run_latents_read_backward(_launch_of(k, q, *tables), k, v, o, lse, do)


def _contiguous(*tensors: Tensor) -> Iterator[Tensor]:
    """The tensors contiguous, as the kernels index them."""
    return (x.contiguous() for x in tensors)


def _launch_of(
    frames: Tensor,
    latents: Tensor,
    latents_of_frame: Tensor,
    frames_of_latent: Tensor,
    frame_angles: Tensor,
    latent_angles: Tensor,
    window: int,
    half: bool,
) -> launch.Launch:
    windows = latents_of_frame, frames_of_latent
    turns = rotations(frame_angles), rotations(latent_angles)
    return launch.Launch(frames, latents, windows, turns, window, half)


def _like(x: Tensor) -> Tensor:
    """A contiguous tensor of x's shape, as the kernels write."""
    return x.new_empty(x.shape)


@_frames_read.register_fake
def _(q: Tensor, *tables: Any) -> Tensor:
    return _like(q)


@_frames_read_backward.register_fake
def _(do: Tensor, q: Tensor, k: Tensor, v: Tensor, *tables: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _like(q), _like(k), _like(v)


@_latents_read.register_fake
def _(q: Tensor, *tables: Any) -> tuple[Tensor, Tensor]:
    return _like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


@_latents_read_backward.register_fake
def _(
    do: Tensor, o: Tensor, lse: Tensor, q: Tensor, k: Tensor, v: Tensor, *tables: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(q), _like(k), _like(v)


def _save_frames(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:7])  # backward needs neither o nor lse
    ctx.tables = inputs[7:]


def _grad_frames(ctx: Any, do: Tensor) -> tuple[Any, ...]:
    return *_frames_read_backward(do, *ctx.saved_tensors, *ctx.tables), *[None] * 6


def _save_latents(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*output, *inputs[:7])
    ctx.tables = inputs[7:]


def _grad_latents(ctx: Any, do: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    return *_latents_read_backward(do, *ctx.saved_tensors, *ctx.tables), *[None] * 6


_frames_read.register_autograd(_grad_frames, setup_context=_save_frames)
_latents_read.register_autograd(_grad_latents, setup_context=_save_latents)


def _register_flops(operator: Any, frames: int, products: int) -> None:
    """Count `products` matrix products of the frames' tokens with the widest window's latents.

    `frames` is the index of the frames' tensor among the arguments. Padding isn't counted.
    """

    def flops(*shapes: Any, **_: Any) -> int:
        return 2 * products * torch.Size(shapes[frames]).numel() * int(shapes[-2])

    register_flop_formula(operator)(flops)


_register_flops(torch.ops.harmony_parts.frames_read, 0, 2)  # q k^T, p v
_register_flops(torch.ops.harmony_parts.frames_read_backward, 1, 5)  # q k^T again, dv, dp, dq, dk
_register_flops(torch.ops.harmony_parts.latents_read, 1, 2)
_register_flops(torch.ops.harmony_parts.latents_read_backward, 4, 5)
