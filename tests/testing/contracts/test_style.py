"""The contract of style parts: it holds for those that ship, and faulty ones are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from harmony_parts.errors import PartContractError
from harmony_parts.style.alignment import StyleAlignment
from harmony_parts.style.none import NoStyle
from harmony_parts.style.tokens import StyleTokens
from harmony_parts.testing.contracts.style import check_style


@pytest.mark.parametrize(
    "spec", [StyleAlignment(), StyleTokens(), StyleTokens(2, 1), NoStyle()], ids=repr
)
def test_style_parts_keep_the_contract(spec: Any) -> None:
    assert isinstance(check_style(spec), nn.Module)


@attrs.frozen
class Broken:
    """A part whose layers are `faulty(layer, branches)` of those of `inner`."""

    inner: Any
    faulty: Callable[[Any, Any], Any]

    def build(self, *, branches: Any) -> Any:
        """A faulty layer."""
        return self.faulty(self.inner.build(branches=branches), branches)


class Faulty(nn.Module):
    """A style part that returns `change(residual, reference, video)`."""

    def __init__(self, inner: nn.Module, change: Callable[[Tensor, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, reference: Tensor, video: Tensor) -> Any:
        return self.change(self.inner(reference, video), reference, video)


@pytest.mark.parametrize(
    ("change", "must"),
    [
        (lambda residual, reference, video: (residual,), "return a residual of the reference"),
        (lambda residual, reference, video: residual[:, :1], "the shape of the reference"),
        (
            lambda residual, reference, video: residual + residual.mean(0),
            "keep the samples of a batch independent",
        ),
        (
            lambda residual, reference, video: residual + residual.mean(1, keepdim=True),
            "keep the tokens of the reference independent",
        ),
        (
            lambda residual, reference, video: residual + video[:, :1].mean((2, 3)).unsqueeze(-1),
            "video's latents in any order",
        ),
        (lambda residual, reference, video: residual + torch.rand(()), "from torch's global one"),
        (lambda residual, reference, video: residual + reference.mul_(2), "changed in place"),
        (lambda residual, reference, video: residual.detach(), "let a gradient reach every weight"),
        (lambda residual, reference, video: residual.double(), "is wider than what it is added to"),
        (
            lambda residual, reference, video: residual * float(video.sum() < 1e9),
            "run on the meta device",
        ),
    ],
)
def test_a_broken_style_part_is_found(change: Any, must: str) -> None:
    with pytest.raises(PartContractError, match=must):
        check_style(Broken(StyleAlignment(), lambda layer, branches: Faulty(layer, change)))
