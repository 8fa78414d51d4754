"""What the reference network `paper_network` computes from: a sample, and what no weight says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from helpers.paper_equations import Vector


@attrs.frozen(eq=False)
class Sample:
    """One sample: latents `video` [T_v][H][W][C] and `audio` [T_a][C] with the time of each, and
    the tokens of its conditions that count. `image`: the known first latents.
    """

    video: NDArray[np.float64]
    audio: NDArray[np.float64]
    video_times: Sequence[float]
    audio_times: Sequence[float]
    caption: Sequence[Vector]
    words: Mapping[str, Sequence[Vector]]
    voice: Sequence[Vector]
    image: Sequence[NDArray[np.float64]]


@attrs.frozen
class Shape:
    """What the weights don't say: heads, patches, clocks, and the settings of the interaction."""

    layers: int
    video_heads: int
    audio_heads: int
    patch: int
    interaction: str  # "gldi", "global" or "none"
    rope_map: str
    constant: float
    audio_window: float
    video_window: float
    style: str | None  # "alignment" or "tokens"
    one_way: bool
