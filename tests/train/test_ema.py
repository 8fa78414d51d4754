"""The moving average of the weights."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.train.ema import EMA


@given(st.floats(0, 0.9999), st.integers(1, 40))
def test_the_average_follows_its_equation(decay: float, steps: int) -> None:
    walk = torch.randn(
        steps + 1, 3, generator=torch.Generator().manual_seed(steps), dtype=torch.float64
    )
    ema, expected = EMA({"w": walk[0]}, decay), walk[0]
    for step in range(1, steps + 1):
        ema.update({"w": walk[step]}, step)
        d = min(decay, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * walk[step]
    torch.testing.assert_close(ema.average["w"], expected, rtol=1e-12, atol=1e-12)
