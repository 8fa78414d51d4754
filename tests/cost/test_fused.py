"""Attention on the meta device costs what a fused kernel does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from harmony_parts.cost.flops import counted
from harmony_parts.cost.fused import fused_attention
from harmony_parts.cost.memory import Live


@pytest.mark.parametrize("mask", [False, True])
def test_attention_is_counted_as_fused(mask: bool) -> None:
    """4 N M d FLOPs per head; saves q, k, v, output and a number per query, never the scores."""
    q, k, v = (
        torch.empty(1, 4, n, 32, device="meta", requires_grad=True) for n in (1024, 2048, 2048)
    )
    seen = torch.ones(1, 1, 1, 2048, dtype=torch.bool, device="meta") if mask else None
    with counted(SimpleNamespace(blocks=())) as flops, Live([q, k, v]) as live:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    assert out.shape == (1, 4, 1024, 32)
    assert flops.total() == 4 * 4 * 1024 * 2048 * 32
    random = 16  # seed and offset of dropout, even if it is 0
    assert live.now <= 4 * (out.numel() + 4 * 1024 + 2 * 2048 * mask) + random
    original = F.scaled_dot_product_attention
    with fused_attention(), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    assert F.scaled_dot_product_attention is original
