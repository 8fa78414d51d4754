"""Latents that are known at the beginning of a stream: what a denoiser sees of them, and the
velocity that leads to them.

A denoiser whose port of a condition is `KNOWN_LATENTS` calls `paste` before its network and `lead`
after it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_parts.av import Condition, Times
from harmony_parts.errors import PartContractError


def paste(latents: Tensor, times: Times, known: Condition) -> tuple[Tensor, Times]:
    """Put the known latents, clean and so at time 0, in place of the first ones.

    `latents` [B, T, ...] with their times [B, T]; of `known` the tokens [B, n, ...] are latents, n
    <= T, taken where its mask [B, n] says so. Returns latents of the same shape and type, and their
    times, which have one value more. Raises PartContractError where shapes don't fit.
    """
    n = _length(latents, known)
    where = torch.zeros(latents.shape[:2], dtype=torch.bool, device=latents.device)
    where[:, :n] = known.mask
    return _first(latents, known.tokens, known), times.clean_where(where)


def lead(velocity: Tensor, noisy: Tensor, times: Times, known: Condition) -> Tensor:
    """Let the velocity of a known latent lead to it: v = (x_t - known) / t, since x_0 = x_t - t v.
    At t = 0 there is nowhere to go: v = 0.

    `velocity` and `noisy` [B, T, ...], the latents and `times` [B, T] as they were before `paste`;
    `known` as there. Returns the velocity, in its type. Raises PartContractError where shapes don't
    fit.
    """
    n = _length(velocity, known)
    t = _wide(times.per_latent()[:, :n], velocity)
    towards = torch.where(t > 0, (noisy[:, :n] - known.tokens) / torch.where(t > 0, t, 1), 0)
    return _first(velocity, towards, known)


def _first(tensor: Tensor, new: Tensor, known: Condition) -> Tensor:
    """`new` [B, n, ...] in place of the first n of `tensor` [B, T, ...], where the mask says so."""
    n = new.shape[1]
    first = torch.where(_wide(known.mask, tensor), new.to(tensor.dtype), tensor[:, :n])
    return torch.cat((first, tensor[:, n:]), dim=1)


def _wide(each: Tensor, like: Tensor) -> Tensor:
    """[B, n] -> [B, n, 1, ...], of as many axes as `like`."""
    return each.reshape(*each.shape, *(1,) * (like.ndim - 2))


def _length(latents: Tensor, known: Condition) -> int:
    b, t, *rest = latents.shape
    n = known.mask.shape[1]
    if n > t or known.tokens.shape != (b, n, *rest):
        raise PartContractError(
            f"the known latents are {list(known.tokens.shape)}, and the stream's {[b, t, *rest]};"
            " they may be fewer in time, and else the same"
        )
    return n
