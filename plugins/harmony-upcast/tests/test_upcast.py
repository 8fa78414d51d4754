"""The contract, and what it is for."""

from __future__ import annotations

import pytest
import torch
from harmony_upcast.upcast import Upcast

from harmony_parts.assembly.build import build
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.read import read_recipe
from harmony_parts.attention.eager import Eager
from harmony_parts.attention.reference import Reference
from harmony_parts.testing.contracts.attention import check_attention, problems


@pytest.mark.parametrize("attention", [Upcast(), Upcast(Reference(), "float64")], ids=repr)
def test_contract(attention) -> None:
    check_attention(attention)


@pytest.mark.parametrize("name", [name for name, *_ in problems()])
def test_one_rounding_is_left(name: str) -> None:
    """Of bfloat16 inputs: what it gives is the float64 result, rounded once; the backend alone is
    no nearer.
    """
    inputs, *rest = next(rest for other, *rest in problems() if other == name)
    narrow = [x.bfloat16() for x in inputs]
    exact = Reference()(*(x.double() for x in narrow), *rest)
    mine, alone = (attention(*narrow, *rest) for attention in (Upcast(dtype="float64"), Eager()))
    assert mine.dtype == torch.bfloat16
    assert torch.equal(mine, exact.bfloat16())
    assert (mine.double() - exact).norm() <= (alone.double() - exact).norm()


def test_wider_inputs_stay_as_they_are() -> None:
    _, inputs, *rest = next(iter(problems()))
    wide = [x.double() for x in inputs]
    assert torch.equal(Upcast(dtype="float32")(*wide, *rest), Eager()(*wide, *rest))


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="dtype"):
        Upcast(dtype="bfloat16")


def test_a_recipe_uses_it() -> None:
    parts = Catalogue.discover(only=["upcast"])
    recipe = read_recipe(
        "demo",
        ["denoiser.interaction.attention={use='upcast', inner='reference', dtype='float64'}"],
        parts=parts,
    )
    assert build(recipe).denoiser.blocks[0].interaction.to_video.attention == Upcast(
        Reference(), "float64"
    )
