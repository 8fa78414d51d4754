"""Live bytes, against storages counted by hand."""

from __future__ import annotations

import torch

from harmony_parts.cost.memory import Live


def test_live_bytes_count_storages_until_freed() -> None:
    """Views take no memory, saved results do, freed storages no longer do."""
    x = torch.empty(1000, device="meta", requires_grad=True)
    with Live([x]) as live:
        y = x.exp()  # saves its result
        assert live.now == 4000
        z = y.view(10, 100) * 2.0  # saves nothing
        assert live.now == 8000
        del y
        assert live.now == 8000
        total = z.sum()
        del z
        assert live.now == 4000 + 4
        total.backward()
        assert live.now == 4000 + 4  # the gradient, and the sum
    assert live.peak == 12_008  # y, and the gradients of z, of y and of the sum, which is 1
