"""Keys and values of a text that are made once and kept over the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

KEPT = "keys and values"


def changes_with_time(config: Any) -> bool:
    """Whether the time modulates the text before its keys and values are made (LTX-2.3)."""
    modulated = config.cross_attn_mod or config.audio_cross_attn_mod
    return bool(modulated and config.use_prompt_adaln_single)


class KeptText:
    """Takes over the layers that make keys and values of the text, in each block of LTX-2.

    For models of which `changes_with_time` is False: what a layer made of a text is returned again
    for the same mapping `cache`. Without a mapping, or with gradients, each call is made anew.
    """

    def __init__(self, model: Any) -> None:
        self._kept: dict[torch.nn.Module, Tensor] | None = None
        for block in model.transformer_blocks:
            for attention in (block.attn2, block.audio_attn2):
                for layer in (attention.to_k, attention.to_v):
                    layer.forward = partial(self._once, layer, layer.forward)

    @contextmanager
    def over(self, cache: MutableMapping[str, Any] | None) -> Iterator[None]:
        """Keep in `cache` what the calls inside make, or take it from there."""
        if cache is not None and not torch.is_grad_enabled():
            self._kept = cache.setdefault(KEPT, {})
        try:
            yield
        finally:
            self._kept = None

    def _once(
        self, layer: torch.nn.Module, forward: Callable[[Tensor], Tensor], text: Tensor
    ) -> Tensor:
        if self._kept is None:
            return forward(text)
        if layer not in self._kept:
            self._kept[layer] = forward(text)
        return self._kept[layer]
