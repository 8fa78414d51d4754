"""The equations of a transformer on single vectors, in float64: what `paper_network` is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Clock = Sequence[tuple[float, float]]


def silu(x: Vector) -> Vector:
    return x / (1 + np.exp(-x))


def gelu(x: Vector) -> Vector:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def layer_norm(x: Vector) -> Vector:
    centred = x - x.mean()
    return centred / math.sqrt((centred**2).mean() + 1e-6)


def rms_norm(x: Vector, weight: Vector) -> Vector:
    return x / math.sqrt((x**2).mean() + 1e-6) * weight


def turned(x: Vector, angles: Sequence[float]) -> Vector:
    """Pair (2i, 2i + 1) turned by angle i; pairs beyond the angles stay."""
    x = x.copy()
    for i, angle in enumerate(angles):
        a, b = x[2 * i], x[2 * i + 1]
        x[2 * i] = a * math.cos(angle) - b * math.sin(angle)
        x[2 * i + 1] = a * math.sin(angle) + b * math.cos(angle)
    return x


def rope(position: float, pairs: int) -> list[float]:
    return [position * 10000 ** (-i / pairs) for i in range(pairs)]


def grid_rope(time: float, row: int, column: int, pairs: int) -> list[float]:
    third = pairs // 3
    return rope(time, pairs - 2 * third) + rope(row, third) + rope(column, third)


def attention(q: Vector, keys: Sequence[Vector], values: Sequence[Vector]) -> Vector:
    """softmax(q k / sqrt(d)) v of one head; 0 over nothing."""
    if not keys:
        return np.zeros_like(q)
    scores = [float(q @ k) / math.sqrt(len(q)) for k in keys]
    weights = [math.exp(score - max(scores)) for score in scores]
    return sum(w / sum(weights) * v for w, v in zip(weights, values))


def positions(own: Clock, others: Clock, rope_map: str, constant: float) -> tuple[list, list]:
    """Positions of latents and of another stream's latents, on the time line of the former."""
    if rope_map == "seconds":
        unit = (own[-1][1] - own[0][0]) / len(own)
        return (
            [(start + end) / 2 / unit for start, end in own],
            [(start + end) / 2 / unit for start, end in others],
        )
    if rope_map == "none":
        return [0] * len(own), [0] * len(others)
    scale = {"ratio": len(own) / len(others), "constant": constant, "index": 1}[rope_map]
    return list(range(len(own))), [j * scale for j in range(len(others))]


def window(interval: tuple[float, float], others: Clock, reach: float) -> list[int]:
    first, last = interval[0] - reach, interval[1] + reach
    return [j for j, (start, end) in enumerate(others) if start < last and end > first]
