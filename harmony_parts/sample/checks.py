"""Checks of what parts return while sampling: shapes at once, values a few together."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.errors import PartContractError, RunError

Who = Callable[[], str]
"""Names the part for an error message; called only if there is an error, since it is slow."""


def check_shapes(got: AV[Tensor], like: AV[Tensor], who: Who) -> None:
    """Raises PartContractError if `got` differs from `like` in its streams or shapes."""
    want, have = ({s: list(av[s].shape) for s in av} for av in (like, got))
    if have != want:
        raise PartContractError(f"{who()} returned {have}; it should be {want}")


class FiniteChecks:
    """Checks for NaN and infinity, which `settle` makes with one transfer to the host.

    On a GPU each transfer waits for all work before it, so checks are collected.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Tensor, str, Who]] = []

    def add(self, got: AV[Tensor], who: Who) -> None:
        """Check these values at the next `settle`; those that wait already are checked once."""
        known = {id(values) for values, _, _ in self._waiting}
        self._waiting += [(got[s], s, who) for s in got if id(got[s]) not in known]

    def settle(self) -> None:
        """Raises RunError, naming the first part that returned NaN or infinity."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        # A sum costs a fifth of checking each number, and isn't finite if one of them isn't. It may
        # also overflow, so then check each number.
        sums = torch.stack([values.sum().float() for values, _, _ in waiting]).tolist()
        for total, (values, stream, who) in zip(sums, waiting, strict=True):
            if not math.isfinite(total) and not torch.isfinite(values).all():
                raise RunError(
                    f"{who()} returned NaN or infinity for {stream}: check its inputs, or use a"
                    " higher precision or a lower scale"
                )
