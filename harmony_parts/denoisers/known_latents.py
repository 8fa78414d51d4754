"""Known latents at the beginning of a stream: how they enter, and the velocity that leads to them.

A denoiser whose port of a condition is `KNOWN_LATENTS` calls `paste` before its network and `lead`
after it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_parts.av import Condition, Times
from harmony_parts.errors import PartContractError


def paste(latents: Tensor, times: Times, known: Condition) -> tuple[Tensor, Times]:
    """Replace the first latents by the known ones, which are clean and so at time 0.

    `latents` [B, T, ...] with their times [B, T]. The tokens [B, n, ...] of `known` are latents, n
    <= T, and replace those where its mask [B, n] is True. Returns latents of the same shape and
    type, and their times, which have one more value. Raises PartContractError if the shapes don't
    fit.
    """
    n = _length(latents, known)
    where = torch.zeros(latents.shape[:2], dtype=torch.bool, device=latents.device)
    where[:, :n] = known.mask
    return _replace_first(latents, known.tokens, known), times.clean_where(where)


def lead(velocity: Tensor, noisy: Tensor, times: Times, known: Condition) -> Tensor:
    """Make the velocity of known latents lead to them: v = (x_t - known) / t, and 0 at t = 0.

    It follows from x_0 = x_t - t v. `velocity` and `noisy` [B, T, ...]: `noisy` are the latents and
    `times` [B, T] their times before `paste`, with the same `known`. Returns the velocity, in its
    type. Raises PartContractError if the shapes don't fit.
    """
    n = _length(velocity, known)
    t = _broadcast(times.per_latent()[:, :n], velocity)
    towards = torch.where(t > 0, (noisy[:, :n] - known.tokens) / torch.where(t > 0, t, 1), 0)
    return _replace_first(velocity, towards, known)


def _replace_first(tensor: Tensor, new: Tensor, known: Condition) -> Tensor:
    """`new` [B, n, ...] in place of the first n of `tensor` [B, T, ...], where the mask is True."""
    n = new.shape[1]
    first = torch.where(_broadcast(known.mask, tensor), new.to(tensor.dtype), tensor[:, :n])
    return torch.cat((first, tensor[:, n:]), dim=1)


def _broadcast(per_latent: Tensor, like: Tensor) -> Tensor:
    """[B, n] -> [B, n, 1, ...], with as many axes as `like`."""
    return per_latent.reshape(*per_latent.shape, *(1,) * (like.ndim - 2))


def _length(latents: Tensor, known: Condition) -> int:
    b, t, *rest = latents.shape
    n = known.mask.shape[1]
    if n > t or known.tokens.shape != (b, n, *rest):
        raise PartContractError(
            f"the known latents are {list(known.tokens.shape)}, and the stream's {[b, t, *rest]};"
            " they need the same shape, with at most as many latents in time"
        )
    return n
