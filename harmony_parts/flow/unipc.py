"""The UniPC predictor-corrector for flow matching."""

from __future__ import annotations

import math
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.flow.protocol import Velocity

LATEST = 1 - 1e-6
"""Later times count as this one in lambda, which is -infinity at time 1; as in diffusers."""


@attrs.frozen
class UniPC:
    """x(t') = a x(t) + (1 - a) d, with a = t' / t and d an estimate of the data over the step.

    One velocity per step. With m = x - t v, the data as the model sees them when the step begins,
    lambda(t) = log((1 - t) / t), h = lambda(t') - lambda(t) and r = (lambda(t_last) - lambda(t))
    / h < 0:

        predictor:  d = m + (m_last - m) / (2 r)
        corrector:  d = m + rho_1 (m_last - m) / r + rho_2 (m_next - m)

    The velocity at the predicted x' gives m_next, with which the corrector takes the same step
    again; the next step goes on from there, and no velocity is evaluated at the corrected x. Each
    stream has its own t and lambda. The first step is Euler's, corrected by the mean of m and
    m_next; the last one is Euler's. The method is of order 3 in lambda, but lambda is infinite at
    times 0 and 1, and in time it is of order 2. Source: UniPC (arXiv:2302.04867), the variant of
    order 2 with B(h) = e^h - 1 and data prediction, as in diffusers' UniPCMultistepScheduler; Wan,
    Ovi and Cosmos3 are sampled with it.
    """

    order = 2

    def step(
        self,
        x: AV[Tensor],
        times: AV[float],
        next_times: AV[float],
        velocity: Velocity,
        memory: Any = None,
    ) -> tuple[AV[Tensor], Any]:
        """x at `next_times`; streams without a velocity stay unchanged.

        Stores the corrected x and its times, and the estimates of the data at the last two steps.
        """
        data = velocity(x, times).map(lambda v, x, t: x - t * v, x, times)
        begins = {
            s: memory[s].corrected(times[s], data[s]) if memory else _Begin(x[s], times[s], data[s])
            for s in data
        }
        return x.replace(**{s: begins[s].predicted(next_times[s]) for s in begins}), begins


@attrs.frozen(eq=False)
class _Begin:
    """The beginning of a step of one stream: x at time `t`, m, and `last`: t and m before it."""

    x: Tensor
    t: float
    m: Tensor
    last: tuple[float, Tensor] | None = None

    def predicted(self, to: float) -> Tensor:
        """x at time `to`."""
        if self.last is None or to == 0:  # at 0, h is infinite
            return self._moved(to, self.m)
        ratio, change = self._before(to, self.last)
        return self._moved(to, self.m + change / (2 * ratio))

    def corrected(self, to: float, m: Tensor) -> _Begin:
        """The beginning of the next step, at time `to`, where the data are estimated as `m`."""
        if self.last is None:
            data = self.m + (m - self.m) / 2
        else:
            ratio, change = self._before(to, self.last)
            first, second = _weights(_lambda(to) - _lambda(self.t), ratio)
            data = self.m + first / ratio * change + second * (m - self.m)
        return _Begin(self._moved(to, data), to, m, (self.t, self.m))

    def _before(self, to: float, last: tuple[float, Tensor]) -> tuple[float, Tensor]:
        """r, and m_last - m."""
        t, m = last
        here = _lambda(self.t)
        return (_lambda(t) - here) / (_lambda(to) - here), m - self.m

    def _moved(self, to: float, data: Tensor) -> Tensor:
        a = to / self.t
        return a * self.x + (1 - a) * data


def _lambda(t: float) -> float:
    """The logarithm of the ratio of data to noise in x_t."""
    t = min(t, LATEST)
    return math.log((1 - t) / t)


def _weights(h: float, r: float) -> tuple[float, float]:
    """rho_1, rho_2: the corrector is exact if m is of second degree in lambda.

    rho_1 + rho_2 = b_1 and r rho_1 + rho_2 = b_2, b_k = k! (-h) phi_(k+1)(-h) / (e^-h - 1).
    """
    b = math.expm1(-h)
    phi_2 = b / -h - 1  # times -h, as phi_3
    phi_3 = phi_2 / -h - 1 / 2
    first = (phi_2 - 2 * phi_3) / b / (1 - r)
    return first, phi_2 / b - first
