"""The contract, and the precision of results."""

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
def test_bfloat16_results_are_rounded_once(name: str) -> None:
    """They equal the rounded float64 results; those of the backend itself are no closer."""
    inputs, *rest = next(rest for other, *rest in problems() if other == name)
    narrow = [x.bfloat16() for x in inputs]
    exact = Reference()(*(x.double() for x in narrow), *rest)
    upcast, plain = (attention(*narrow, *rest) for attention in (Upcast(dtype="float64"), Eager()))
    assert upcast.dtype == torch.bfloat16
    assert torch.equal(upcast, exact.bfloat16())
    assert (upcast.double() - exact).norm() <= (plain.double() - exact).norm()


def test_wider_inputs_keep_their_dtype() -> None:
    _, inputs, *rest = next(iter(problems()))
    wide = [x.double() for x in inputs]
    assert torch.equal(Upcast(dtype="float32")(*wide, *rest), Eager()(*wide, *rest))


def test_other_dtypes_are_refused() -> None:
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
