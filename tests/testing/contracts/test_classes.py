"""A class in place of the part: the parentheses that a plugin's first test forgets."""

from __future__ import annotations

import inspect

import pytest

from harmony_parts.errors import PartContractError
from harmony_parts.testing import contracts


class Mine:
    """What a plugin's author wrote."""


@pytest.mark.parametrize("name", contracts.__all__)
def test_a_class_in_place_of_a_part_is_named(name: str) -> None:
    check = getattr(contracts, name)
    _, *more = inspect.signature(check).parameters.values()
    required = [None for each in more if each.default is inspect.Parameter.empty]
    with pytest.raises(PartContractError, match=r"Mine is a class: pass the part, Mine\(\.\.\.\)"):
        check(Mine, *required)
