"""Known latents at the beginning of a stream: how they enter, and the velocity that leads to them.

A denoiser whose port of a condition is `KNOWN_LATENTS` calls `paste` before its network and `lead`
after it. `KnownBeginning` does the same around any denoiser, for streams that go on from others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, STREAMS, Condition, Conditions, Times
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Denoiser, Port
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


class KnownBeginning:
    """A denoiser of streams that begin with known latents; the contract is `Denoiser`'s.

    `begin` [B, k, ...] per stream are pasted into the first k latents of the stream where these are
    noisy, and their velocity leads to them. Samples at time 0 (given, or replaced by an anchor of
    guidance) keep their values. The B samples may be repeated, as in a batch of several passes. A
    velocity of a wrong shape is returned unchanged, for the sampler to report.
    """

    def __init__(self, denoiser: Denoiser, begin: AV[Tensor]) -> None:
        self.denoiser, self.begin = denoiser, begin
        self.accepts, self.hints = denoiser.accepts, denoiser.hints

    @property
    def blocks(self) -> Sequence[nn.Module] | nn.ModuleList:
        """The blocks of the denoiser."""
        return self.denoiser.blocks

    def __call__(
        self,
        av: AV[Tensor],
        times: AV[Times],
        conditions: Conditions,
        *,
        hints: Collection[str] = (),
        read: Collection[str] = STREAMS,
        cache: MutableMapping[str, Any] | None = None,
    ) -> AV[Tensor]:
        """Noisy latents to velocities of the streams in `read`."""
        known = self.begin.map(_known_where_noisy, times)
        pasted = known.map(lambda c, x, t: paste(x, t, c), av, times)
        velocity = self.denoiser(
            av.replace(**{s: pasted[s][0] for s in pasted}),
            times.replace(**{s: pasted[s][1] for s in pasted}),
            conditions,
            hints=hints,
            read=read,
            cache=cache,
        )
        led = known.map(
            lambda c, v, x, t: lead(v, x, t, c) if v.shape == x.shape else v, velocity, av, times
        )
        return velocity.replace(**{s: led[s] for s in led})


def _known_where_noisy(begin: Tensor, times: Times) -> Condition:
    """The known latents of a batch, valid where its latents are noisy."""
    k, times_of_batch = begin.shape[1], times.per_latent()
    repeats = len(times_of_batch) // len(begin)
    return Condition(begin.repeat(repeats, *(1,) * (begin.ndim - 1)), times_of_batch[:, :k] > 0)


def without_covered(
    conditions: Conditions, accepts: Mapping[str, Port], begin: AV[Tensor]
) -> dict[str, Condition]:
    """The conditions without known latents (a reference image) in the place of those of `begin`."""
    result = dict(conditions)
    for name, port in accepts.items():
        if port == KNOWN_LATENTS and begin.video is not None and name in conditions:
            mask = conditions[name].mask.clone()
            mask[:, : begin.video.shape[1]] = False
            result[name] = attrs.evolve(conditions[name], mask=mask)
    return result


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
