"""A denoiser with the exact velocity of Gaussian data, for tests without trained weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Conditions, Times
from harmony_parts.denoisers.protocol import Denoiser, Port
from harmony_parts.errors import PartContractError


class GaussianDenoiser(torch.nn.Module):
    """The exact velocity for jointly Gaussian data (x_video, x_audio) ~ N(mean, covariance).

    With x_t = A x + S n, A = 1 - t and S = t per latent, and K = (A C A + S^2)^-1:

        E[x | x_t] = m + C A K (x_t - A m)
        E[n | x_t] = S K (x_t - A m)
        v = E[n - x | x_t]

    Absent streams are marginalized, streams at time 0 are conditioned on, and each latent may have
    a different time.

    `mean` [D] and positive definite `covariance` [D, D], with D elements: those of `video` [T, H,
    W, C], then those of `audio` [T, C]. The condition "caption" [B, L, D] adds its masked sum to
    the mean; it is optional. Use it for small D: it solves a system of D unknowns per sample, in
    float64.
    """

    accepts: Mapping[str, Port] = MappingProxyType({"caption": Port("video", "add")})
    blocks: Sequence[torch.nn.Module] = ()

    def __init__(
        self,
        video: tuple[int, ...],
        audio: tuple[int, ...],
        mean: Tensor,
        covariance: Tensor,
        hints: Collection[str] = (),
    ) -> None:
        super().__init__()
        size = prod(video) + prod(audio)
        if mean.shape != (size,) or covariance.shape != (size, size):
            raise ValueError(
                f"mean must be [{size}] and covariance [{size}, {size}], not {list(mean.shape)} and"
                f" {list(covariance.shape)}"
            )
        self.shapes = AV(video, audio)
        self.places = AV(torch.arange(prod(video)), torch.arange(prod(video), size))
        self.mean, self.covariance = mean, covariance
        self.hints = frozenset(hints)

    def forward(
        self,
        av: AV[Tensor],
        times: AV[Times],
        conditions: Conditions,
        *,
        hints: Collection[str] = (),
        read: Collection[str] = STREAMS,
        cache: MutableMapping[str, Any] | None = None,
    ) -> AV[Tensor]:
        """Velocities of the streams in `read`. Raises PartContractError for unsupported hints."""
        if unknown := sorted(set(hints) - self.hints):
            supported = ", ".join(sorted(self.hints)) or "none"
            raise PartContractError(
                f"GaussianDenoiser doesn't support the hint {', '.join(unknown)}; it supports"
                f" {supported}"
            )
        place = torch.cat([self.places[s] for s in av])
        x = torch.cat([av[s].flatten(1) for s in av], dim=1).double()  # [B, D]
        per_latent = times.map(
            lambda time, shape: time.per_latent().repeat_interleave(prod(shape[1:]), dim=1),
            self.shapes,
        )
        s = torch.cat([per_latent[name] for name in av], dim=1).to(x)
        a = 1 - s
        mean = self.mean.to(x).expand(len(x), -1)
        if (caption := conditions.get("caption")) is not None:
            mean = mean + (caption.tokens * caption.mask[..., None]).sum(dim=1).to(x)
        mean, c = mean[:, place], self.covariance.to(x)[place][:, place]
        seen = a[:, :, None] * c * a[:, None, :] + torch.diag_embed(s**2)
        surprise = torch.cholesky_solve((x - a * mean)[..., None], torch.linalg.cholesky(seen))[
            ..., 0
        ]
        velocity = s * surprise - mean - (a * surprise) @ c
        parts = dict(
            zip(av, velocity.split([len(self.places[name]) for name in av], dim=1), strict=True)
        )
        return AV(
            **{
                name: parts[name].reshape(av[name].shape).to(av[name].dtype)
                for name in av
                if name in read
            }
        )


@attrs.frozen(eq=False)
class Call:
    """The arguments of one call of a denoiser."""

    av: AV[Tensor]
    times: AV[Times]
    conditions: Conditions
    hints: frozenset[str]
    read: tuple[str, ...]
    cache: MutableMapping[str, Any] | None

    def time(self, stream: str) -> float:
        """The time of a stream: that of the first latent of the first sample."""
        return float(self.times[stream].per_latent()[0, 0])


class Recorded:
    """Wraps a denoiser and records every call in `calls`, for tests of a sampler's requests."""

    def __init__(
        self, inner: Denoiser, after: Callable[[int, AV[Tensor]], AV[Tensor]] | None = None
    ) -> None:
        """`after(number of the call, velocities)` may change what is returned, to inject faults."""
        self.inner, self.after = inner, after
        self.accepts, self.hints, self.blocks = inner.accepts, inner.hints, inner.blocks
        self.calls: list[Call] = []

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
        """The velocities of `inner`, changed by `after`."""
        self.calls.append(Call(av, times, conditions, frozenset(hints), tuple(read), cache))
        velocities = self.inner(av, times, conditions, hints=hints, read=read, cache=cache)
        return velocities if self.after is None else self.after(len(self.calls), velocities)
