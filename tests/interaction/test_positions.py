"""The RoPE map: where the latents of one stream are on the other's time line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.positions import positions
from harmony_parts.interaction.protocol import Layout
from harmony_parts.testing.stand_ins import StubCodec

VIDEO = torch.tensor([[0.0, 0.1], [0.1, 0.5], [0.5, 0.9]], dtype=torch.float64)  # 0.3 s each, mean
AUDIO = StubCodec(1, (), 20 / 3).clock(6)  # 0.15 s each


@pytest.mark.parametrize(
    ("queries", "keys", "rope_map", "at_queries", "at_keys"),
    [
        (VIDEO, AUDIO, "ratio", [0, 1, 2], [0, 0.5, 1, 1.5, 2, 2.5]),
        (AUDIO, VIDEO, "ratio", [0, 1, 2, 3, 4, 5], [0, 2, 4]),
        (VIDEO, AUDIO, "constant", [0, 1, 2], [0, 0.4, 0.8, 1.2, 1.6, 2.0]),
        (AUDIO, VIDEO, "constant", [0, 1, 2, 3, 4, 5], [0, 0.4, 0.8]),
        (VIDEO, AUDIO, "seconds", [1 / 6, 1, 7 / 3], [0.25, 0.75, 1.25, 1.75, 2.25, 2.75]),
        (VIDEO, AUDIO, "index", [0, 1, 2], [0, 1, 2, 3, 4, 5]),
        (VIDEO, AUDIO, "none", [0, 0, 0], [0, 0, 0, 0, 0, 0]),
        (AUDIO, VIDEO, "seconds", [0.5, 1.5, 2.5, 3.5, 4.5, 5.5], [1 / 3, 2, 14 / 3]),
    ],
)
def test_positions_are_on_the_time_line_of_the_queries(
    queries: Tensor, keys: Tensor, rope_map: Any, at_queries: list[float], at_keys: list[float]
) -> None:
    """A `constant` of 0.4 query latents per key latent; sums and quotients of a few float64."""
    found = positions(queries, keys, rope_map, 0.4)
    for got, wanted in zip(found, (at_queries, at_keys)):
        assert got.dtype == torch.float64
        assert got.tolist() == pytest.approx(wanted, abs=1e-12)


def test_the_constant_of_gldi_is_inverted_for_the_audio() -> None:
    """0.4 video latents per audio latent are 2.5 audio latents per video latent. The first pair of
    a head turns by the position itself.
    """
    branches = AV(
        VideoTransformer(8, 2, 8, 1).build(channels=1, grid=(1, 1), conditions={}),
        MMDiT(8, 2, 8).build(channels=1, grid=(), conditions={}),
    )
    layout = Layout(AV(VIDEO, AUDIO), AV((1, 1), (1, 1)), torch.device("cpu"))
    tables = GLDI(rope_map="constant", constant=0.4).build(branches=branches).tables(layout)
    assert tables["video"].k_angles[:, 0].tolist() == pytest.approx([0, 0.4, 0.8, 1.2, 1.6, 2.0])
    assert tables["audio"].k_angles[:, 0].tolist() == pytest.approx([0, 2.5, 5.0])
