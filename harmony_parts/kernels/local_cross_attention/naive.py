"""What the kernels compute, in plain PyTorch and in any precision: dense scores, relative rotation,
one softmax.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(x: Tensor, cos: Tensor, sin: Tensor, half: bool) -> Tensor:
    """Turn the first 2P channels of x [..., d] by cos, sin [..., P]. Pairs are (2i, 2i + 1), or (i,
    i + P) where `half`.
    """
    pairs = cos.shape[-1]
    turning, rest = x[..., : 2 * pairs], x[..., 2 * pairs :]
    first, second = turning.chunk(2, -1) if half else (turning[..., 0::2], turning[..., 1::2])
    turned = first * cos - second * sin, first * sin + second * cos
    out = torch.cat(turned, -1) if half else torch.stack(turned, -1).flatten(-2)
    return torch.cat((out, rest.expand(*out.shape[:-1], -1)), -1)


def _turn(own: Tensor, other: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin of own - other: angles [A, P] and [B, P] -> [A, B, P]. The difference is taken in
    float64.
    """
    angle = own.double()[:, None] - other.double()[None]
    return angle.cos().to(dtype), angle.sin().to(dtype)


def _softmax(scores: Tensor, seen: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Softmax over `axes` of what is seen; 0 where nothing is."""
    scores = scores.masked_fill(~seen, -torch.inf)
    weights = (scores - scores.amax(axes, keepdim=True).nan_to_num(neginf=0.0).detach()).exp()
    total = weights.sum(axes, keepdim=True)
    return weights / total.masked_fill(total == 0, 1)


def _seen(windows: Tensor, keys: int) -> Tensor:
    """bool [queries, keys] of int [queries, 2]."""
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
    """Frames of S tokens read latents of one: q [B, F, S, h, d], k and v [B, T, h, d], windows int
    [F, 2] -> [B, F, S, h, d].

    o_fs = sum_j softmax_j(q_fs . R(a_j - a_f) k_j / sqrt(d)) v_j over the frame's window; angles
    [F, P] and [T, P].
    """
    cos, sin = _turn(latent_angles, frame_angles, q.dtype)  # [T, F, P]
    turned = rotate(k[:, :, None], cos[:, :, None], sin[:, :, None], half)  # [B, T, F, h, d]
    scores = torch.einsum("bfshd,btfhd->bhfst", q, turned) / q.shape[-1] ** 0.5
    weights = _softmax(scores, _seen(windows, k.shape[1])[:, None], (-1,))
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
    """Latents of one token read frames of S: q [B, T, h, d], k and v [B, F, S, h, d], windows int
    [T, 2] -> [B, T, h, d].

    o_j = sum_fs softmax_fs(R(a_j - a_f) q_j . k_fs / sqrt(d)) v_fs over the frames of the latent's
    window.
    """
    cos, sin = _turn(latent_angles, frame_angles, q.dtype)
    turned = rotate(q[:, :, None], cos[:, :, None], sin[:, :, None], half)
    scores = torch.einsum("btfhd,bfshd->bhtfs", turned, k) / q.shape[-1] ** 0.5
    weights = _softmax(scores, _seen(windows, k.shape[1])[:, :, None], (-2, -1))
    return torch.einsum("bhtfs,bfshd->bthd", weights, v)
