"""What an encoder gives is checked where it is used, not where it breaks the denoiser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.av import Condition, Prompt
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.latents.conditions import conditions_of


class Mood(nn.Module):
    """An encoder that gives whatever it is made with."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made, self.produces = made, {"mood": 4}

    def forward(self, prompts):
        return self.made


def condition(width: int) -> Condition:
    tokens, mask = torch.zeros(1, 2, width), torch.ones(1, 2, dtype=torch.bool)
    return Condition(tokens, mask, Condition(tokens, mask))


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (None, "a NoneType"),
        (torch.zeros(1, 2, 4), "a Tensor"),
        ({"mood": torch.zeros(1, 2, 4)}, "a Tensor as 'mood'"),
        ({"mod": condition(4)}, r"tokens with the widths {'mod': 4}"),
        ({"mood": condition(5)}, r"tokens with the widths {'mood': 5}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_condition_is_named(made: Any, found: str) -> None:
    expected = rf"Mood gives {found}; it must give .* of its `produces`, {{'mood': 4}}"
    with pytest.raises(PartContractError, match=expected):
        conditions_of([Mood(made)], [Prompt()])


def test_what_is_produced_is_given() -> None:
    assert list(conditions_of([Mood({"mood": condition(4)})], [Prompt()])) == ["mood"]


def test_an_encoder_without_produces_is_named_at_assembly(monkeypatch) -> None:
    recipe = read_recipe("demo")
    monkeypatch.setattr(
        type(recipe.encoders["caption"]), "build", lambda self, *, format, codecs: nn.Identity()
    )
    with pytest.raises(AssemblyError, match=r"\$\.encoders\.caption: Identity needs `produces`"):
        build(recipe)
