"""peft reads the adapters that this library writes. It needs an environment with peft."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harmony_parts.layers.lora import A, B, attach
from harmony_parts.models.lora import save_adapters

RANK, ALPHA = 2, 6.0


class Network(nn.Module):
    """Two adapted layers, and one that isn't."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({"q": nn.Linear(8, 8)}) for _ in range(2))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = torch.tanh(block["q"](x))  # type: ignore[index]
        return self.head(x)


@pytest.mark.slow
def test_peft_computes_what_the_adapters_do(tmp_path: Path) -> None:
    """With the adapters attached, and merged."""
    reason = "peft isn't installed: pip install peft, in an environment of its own"
    peft: Any = pytest.importorskip("peft", reason=reason)
    torch.manual_seed(0)
    base = Network()
    adapted = copy.deepcopy(base)
    for block in adapted.blocks:
        layer = block["q"]  # type: ignore[index]
        attach(layer, RANK, ALPHA)
        for factor in (A, B):
            nn.init.normal_(getattr(layer, factor).weight)
    save_adapters(tmp_path, adapted, adapted.state_dict())
    x = torch.randn(5, 8)
    with torch.no_grad():
        expected = adapted(x)
        assert (expected - base(x)).abs().max() > 0.01
        theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path))
        assert set(theirs.peft_config["default"].target_modules) == {"blocks.0.q", "blocks.1.q"}
        torch.testing.assert_close(theirs(x), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(theirs.merge_and_unload()(x), expected, rtol=0, atol=1e-6)
