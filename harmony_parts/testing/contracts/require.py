"""What all contract checks share."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harmony_parts.errors import PartContractError


def require(holds: object, part: object, must: str) -> None:
    """Raise PartContractError, "PART must MUST", unless `holds`."""
    if not holds:
        raise PartContractError(f"{part!r} must {must}")


def check_made(part: object) -> None:
    """Require that a part, or its spec, isn't its class."""
    if isinstance(part, type):
        name = part.__name__
        raise PartContractError(f"{name} is a class: pass the part, {name}(...), with its settings")


def check_value(part: object) -> None:
    """Require that a part that is its own spec is compared by value and hashable."""
    check_made(part)
    twin = copy.deepcopy(part)
    require(
        part == twin and hash(part) == hash(twin),
        part,
        "be compared by value and hashable: decorate its class with @attrs.frozen",
    )


@contextmanager
def no_global_randomness(part: object) -> Iterator[None]:
    """Require that `part` leaves torch's global generator untouched inside the context."""
    before = torch.get_rng_state()
    yield
    untouched = torch.equal(before, torch.get_rng_state())
    must = (
        "draw random numbers from the generator that it is passed, not from torch's global one;"
        " without a generator it must draw none (dropout)"
    )
    require(untouched, part, must)


def generator(seed: int = 0) -> torch.Generator:
    """A CPU generator with that seed."""
    return torch.Generator().manual_seed(seed)
