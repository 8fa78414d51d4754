"""The contract of encoders names what breaks it before anything is computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harmony_parts.av import AV, Format
from harmony_parts.errors import PartContractError
from harmony_parts.testing.contracts import check_encoder

FORMAT = Format(fps=12, height=16, width=16, sample_rate=8000, seconds=1.0)


class Mood(torch.nn.Module):
    """An encoder that gives `made`, whatever is asked."""

    def __init__(self, produces: Any, made: Any) -> None:
        super().__init__()
        self.produces, self.made = produces, made

    def build(self, **_: Any) -> Mood:
        return self

    def forward(self, prompts: Any) -> Any:
        return self.made


@pytest.mark.parametrize(
    ("produces", "made", "message"),
    [
        (None, {}, "must map the name of each condition to the width of its tokens, not None"),
        ({}, {}, "to the width of its tokens, not {}"),
        ({"mood": 4}, {"mood": torch.zeros(5, 1, 4)}, "'mood': a Tensor, not a Condition"),
    ],
    ids=["no mapping", "nothing", "a tensor"],
)
def test_the_contract_names_what_is_no_encoder(produces: Any, made: Any, message: str) -> None:
    with pytest.raises(PartContractError, match=message):
        check_encoder(Mood(produces, made), FORMAT, AV())
