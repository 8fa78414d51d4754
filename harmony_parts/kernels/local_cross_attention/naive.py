"""What the kernels compute, in plain PyTorch: dense scores, relative rotation, one softmax."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(x: Tensor, cos: Tensor, sin: Tensor, half: bool) -> Tensor:
    """Rotate the first 2P channels of x [..., d] by cos, sin [..., P].

    Pairs are (2i, 2i + 1), or (i, i + P) if `half`.
    """
    pairs = cos.shape[-1]
    rotary, rest = x[..., : 2 * pairs], x[..., 2 * pairs :]
    first, second = rotary.chunk(2, -1) if half else (rotary[..., 0::2], rotary[..., 1::2])
    rotated = first * cos - second * sin, first * sin + second * cos
    out = torch.cat(rotated, -1) if half else torch.stack(rotated, -1).flatten(-2)
    return torch.cat((out, rest.expand(*out.shape[:-1], -1)), -1)


def _relative_rotation(a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin of a - b, subtracted in float64: angles [A, P] and [B, P] -> [A, B, P]."""
    angle = a.double()[:, None] - b.double()[None]
    return angle.cos().to(dtype), angle.sin().to(dtype)


def _softmax(scores: Tensor, mask: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Softmax over `axes`, restricted to `mask`; 0 for rows whose mask is empty."""
    scores = scores.masked_fill(~mask, -torch.inf)
    weights = (scores - scores.amax(axes, keepdim=True).nan_to_num(neginf=0.0).detach()).exp()
    total = weights.sum(axes, keepdim=True)
    return weights / total.masked_fill(total == 0, 1)


def _mask(windows: Tensor, keys: int) -> Tensor:
    """Windows as a mask: int [queries, 2] -> bool [queries, keys]."""
    at = torch.arange(keys, device=windows.device)
    return (at >= windows[:, :1]) & (at < windows[:, 1:])


def frames_read(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    windows: Tensor,
    frame_angles: Tensor,
    latent_angles: Tensor,
    half: bool = False,
) -> Tensor:
    """Queries are frames' tokens, keys are latents.

    q [B, F, S, h, d], k and v [B, T, h, d], windows int [F, 2], angles [F, P] and [T, P]
    -> [B, F, S, h, d]. Over the frame's window,

        o_fs = sum_j softmax_j(q_fs . R(a_j - a_f) k_j / sqrt(d)) v_j
    """
    cos, sin = _relative_rotation(latent_angles, frame_angles, q.dtype)  # [T, F, P]
    rotated = rotate(k[:, :, None], cos[:, :, None], sin[:, :, None], half)  # [B, T, F, h, d]
    scores = torch.einsum("bfshd,btfhd->bhfst", q, rotated) / q.shape[-1] ** 0.5
    weights = _softmax(scores, _mask(windows, k.shape[1])[:, None], (-1,))
    return torch.einsum("bhfst,bthd->bfshd", weights, v)


def latents_read(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    windows: Tensor,
    frame_angles: Tensor,
    latent_angles: Tensor,
    half: bool = False,
) -> Tensor:
    """Queries are latents, keys are frames' tokens.

    q [B, T, h, d], k and v [B, F, S, h, d], windows int [T, 2], angles [F, P] and [T, P]
    -> [B, T, h, d]. Over the frames of the latent's window,

        o_j = sum_fs softmax_fs(R(a_j - a_f) q_j . k_fs / sqrt(d)) v_fs
    """
    cos, sin = _relative_rotation(latent_angles, frame_angles, q.dtype)
    rotated = rotate(q[:, :, None], cos[:, :, None], sin[:, :, None], half)
    scores = torch.einsum("btfhd,bfshd->bhtfs", rotated, k) / q.shape[-1] ** 0.5
    weights = _softmax(scores, _mask(windows, k.shape[1])[:, :, None], (-2, -1))
    return torch.einsum("bhtfs,bfshd->bthd", weights, v)
