"""Attention on the meta device as a GPU runs it: fused, without storing the scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@contextmanager
def fused_attention() -> Iterator[None]:
    """Inside, SDPA of meta tensors dispatches to torch's memory-efficient kernel.

    By default it would decompose into the unfused formula there. FLOPs and saved tensors are those
    of the other fused kernels too. Tensors on other devices are unaffected.
    """
    original = F.scaled_dot_product_attention

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
            return original(query, key, value, attn_mask, dropout_p, is_causal, **settings)
        save_lse = torch.is_grad_enabled()
        bias = (
            None
            if attn_mask is None
            else _bias(attn_mask, query).expand(*query.shape[:-1], key.shape[-2])
        )
        scale = settings.get("scale")
        op = torch.ops.aten._scaled_dot_product_efficient_attention
        return op(query, key, value, bias, save_lse, dropout_p, is_causal, scale=scale)[0]

    F.scaled_dot_product_attention = attention  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = original


def _bias(mask: Tensor, like: Tensor) -> Tensor:
    """The mask as a bias of the scores: True is 0, False -inf."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, -torch.inf)
    return mask.to(like.dtype)
