"""Attention on the meta device as it runs on a GPU: fused, so that scores are neither written nor
kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@contextmanager
def fused_attention() -> Iterator[None]:
    """Inside, `torch.nn.functional.scaled_dot_product_attention` of meta tensors is torch's
    memory-efficient kernel; left alone it would be the unfused formula there. What it computes and
    keeps is the same as that of the other fused kernels. Other tensors go their usual way.
    """
    usual = F.scaled_dot_product_attention

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **settings: Any,
    ) -> Tensor:
        if not query.is_meta or settings.get("enable_gqa"):
            return usual(query, key, value, attn_mask, dropout_p, is_causal, **settings)
        keep = torch.is_grad_enabled()
        bias = (
            None
            if attn_mask is None
            else _bias(attn_mask, query).expand(*query.shape[:-1], key.shape[-2])
        )
        scale = settings.get("scale")
        op = torch.ops.aten._scaled_dot_product_efficient_attention
        return op(query, key, value, bias, keep, dropout_p, is_causal, scale=scale)[0]

    F.scaled_dot_product_attention = attention  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = usual


def _bias(mask: Tensor, like: Tensor) -> Tensor:
    """What is added to the scores: a mask of True and False as 0 and -inf."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, -torch.inf)
    return mask.to(like.dtype)
