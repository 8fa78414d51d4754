"""Correlation: how the motion of any picture goes with the envelope of its sound, and at which lag it does so best."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from harmony_parts.av import AV
from harmony_parts.data.protocol import Event
from harmony_parts.media import Clip
from harmony_parts.metrics.envelope import smooth_energy
from harmony_parts.plugin import knob

STEP = 0.01  # s between the values that are correlated


@attrs.frozen
class Correlation:
    """Normalised cross-correlation of the picture's motion energy with the sound's envelope.

    c(lag) = mean of (v(t) - mean v) (a(t + lag) - mean a) / (std v std a) over the time that both have, so a positive lag is sound after picture.
    A clip of 2 s has few independent values: chance is well above 0, so compare with re-paired clips.
    """

    reach: float = knob(0.5, help="greatest lag that is looked at", unit="s", validator=attrs.validators.gt(0))
    sound: str = knob(
        "rise", help='"rise": growth of the envelope; "level": the envelope itself', validator=attrs.validators.in_(("rise", "level"))
    )
    smooth: float = knob(0.08, help="width of the triangular window on the sound's signal: two frames", unit="s", validator=attrs.validators.gt(0))

    def analyse(self, clip: Clip) -> AV[np.ndarray]:
        """Motion energy and sound signal of the streams that the clip has, each [N] at 0, STEP, 2 STEP ... s."""
        return AV(
            video=None if clip.frames is None else self.motion(clip.frames.numpy(), float(clip.fps)),
            audio=None if clip.waveform is None else self.envelope(clip.mono().numpy(), clip.sample_rate),
        )

    def motion(self, frames: np.ndarray, fps: float) -> np.ndarray:
        """[N] mean absolute difference of consecutive frames (0 to 1); that of frames k - 1 and k is at k / fps, straight lines in between."""
        if len(frames) < 2:
            return np.zeros(0)
        energy = [np.abs(new.astype(np.int16) - old).mean() / 255 for old, new in zip(frames[:-1], frames[1:], strict=True)]
        times = np.arange(int(len(frames) / fps / STEP)) * STEP
        return np.interp(times, np.arange(1, len(frames)) / fps, energy)

    def envelope(self, sound: np.ndarray, rate: int) -> np.ndarray:
        """[N] root mean square over a window of 20 ms, or its growth, smoothed."""
        level = np.sqrt(smooth_energy(sound, rate, 0.02, STEP))
        if self.sound == "rise":
            # Central differences, so that growth isn't dated half a step late.
            padded = np.pad(level, 1, mode="edge")
            level = np.maximum(padded[2:] - padded[:-2], 0) / 2
        half = max(1, round(self.smooth / STEP))
        window = 1 - np.abs(np.arange(-half, half + 1)) / (half + 1)
        return np.convolve(np.pad(level, half, mode="edge"), window / window.sum(), mode="valid") if len(level) else level

    def score(self, video: np.ndarray, audio: np.ndarray, truth: Sequence[Event] | None = None) -> dict[str, float]:
        """`correlation` at its peak within the reach, `lag_ms` of the peak, and `correlation_at_0`; empty where a stream doesn't change."""
        length, reach = min(len(video), len(audio)), round(self.reach / STEP)
        video, audio = video[:length], audio[:length]
        # At every lag at least half of the time remains, and each part is normalised by itself.
        reach = min(reach, length // 2)
        lags = np.arange(-reach, reach + 1)
        values = np.array([pearson(video[max(0, -lag) : length - max(0, lag)], audio[max(0, lag) : length - max(0, -lag)]) for lag in lags])
        if not np.isfinite(values).any():
            return {}
        best = int(np.nanargmax(values))
        peak, shift = float(values[best]), 0.0
        if 0 < best < 2 * reach:
            # A parabola through the highest value and its neighbours.
            before, after = values[best - 1], values[best + 1]
            bend = before - 2 * peak + after
            if np.isfinite(bend) and bend < 0:
                shift = float((before - after) / (2 * bend))
                peak = min(1.0, peak - float((before - after) * shift / 4))
        numbers = {"correlation": peak, "lag_ms": float(lags[best] + shift) * STEP * 1000}
        if np.isfinite(values[reach]):
            numbers["correlation_at_0"] = float(values[reach])
        return numbers


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two series [N]; not a number where one doesn't change."""
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 1e-12 else float("nan")
