"""The order of clips."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.latents.order import ClipOrder


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 100))
def test_every_epoch_has_each_clip_once_in_a_new_order(size: int, batch: int, seed: int) -> None:
    order, generator = ClipOrder(size), torch.Generator().manual_seed(seed)
    seen = torch.cat([order.next(batch, generator) for _ in range(3 * size)])
    epochs = seen[: len(seen) // size * size].view(-1, size)
    assert torch.equal(epochs.sort(dim=1).values, torch.arange(size).expand_as(epochs))
    assert size < 8 or not torch.equal(epochs[0], epochs[1])
