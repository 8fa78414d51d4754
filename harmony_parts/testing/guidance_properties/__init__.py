"""Properties that hold for every guidance and all predictions, which hypothesis tries to refute.

    import pytest
    from harmony_parts.testing.guidance_properties import cases

    @pytest.mark.parametrize(("guidance", "holds"), cases(MyGuidance()))
    def test_properties(guidance, holds):
        holds(guidance)

Each case is one property of one guidance. A guidance declares the properties that it can't have in
`exempt`; they are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from harmony_parts.errors import PartContractError
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.testing.guidance_properties import (
    composition,
    passes,
    predictions,
    state,
    streams,
)
from harmony_parts.testing.guidance_properties.inner import inner_guidances
from harmony_parts.testing.guidance_properties.property import Property, near, same
from harmony_parts.testing.guidance_walks import some_walks

__all__ = ["PROPERTIES", "Property", "cases", "check_exemptions", "exemptions", "near", "same"]

PROPERTIES: dict[str, Property] = {
    each.name: each
    for module in (predictions, streams, passes, composition, state)
    for each in module.PROPERTIES
}
"""Name -> property."""


def cases(*guidances: Guidance, known_failures: Mapping[str, str] | None = None) -> list[Any]:
    """Every property of every guidance, as parameters (guidance, property) for pytest.

    Properties in `exempt` of a guidance, or of one inside it, are left out. Those of
    `known_failures` (name -> reason) must fail: they become strict xfails. Raises PartContractError
    for unknown names of properties.
    """
    import pytest

    failures = known_failures or {}
    _check_names("known_failures", failures)
    found = []
    for guidance in guidances:
        exempt = exemptions(guidance)
        for name, each in PROPERTIES.items():
            if name in exempt or not each.applies(guidance):
                continue
            marks = []
            if name in failures:
                reason = failures[name]
                marks = [pytest.mark.xfail(reason=reason, strict=True, raises=PartContractError)]
            found.append(pytest.param(guidance, each, marks=marks, id=f"{guidance!r}: {name}"))
    return found


def exemptions(guidance: Any) -> dict[str, str]:
    """The properties in `exempt` of a guidance and of those inside it, with the reasons.

    Raises PartContractError for unknown names of properties.
    """
    exempt = dict(getattr(guidance, "exempt", {}))
    _check_names(f"{type(guidance).__name__}.exempt", exempt)
    for inner in inner_guidances(guidance):
        exempt |= exemptions(inner)
    return exempt


def check_exemptions(guidance: Any) -> None:
    """Check that every property in `exempt` of a guidance fails on some walk.

    Raises PartContractError for a property that seems to hold.
    """
    _check_names(f"{type(guidance).__name__}.exempt", guidance.exempt)
    for name in guidance.exempt:
        if all(PROPERTIES[name].check(guidance, walk) for walk in some_walks()):
            raise PartContractError(
                f"{guidance!r} is exempt from {name!r}, which seems to hold: remove it from exempt"
            )


def _check_names(where: str, names: Mapping[str, str]) -> None:
    for name in set(names) - set(PROPERTIES):
        match = get_close_matches(name, PROPERTIES, 1)
        raise PartContractError(
            f"{where} names the unknown property {name!r}"
            f"{f' (did you mean {match[0]!r}?)' if match else ''}; the properties are:"
            f" {', '.join(PROPERTIES)}"
        )
