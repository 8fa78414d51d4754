"""Correlation of a picture's brightening with the sound's envelope, and the lag of its peak."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import attrs
import numpy as np
import torch

from harmony_parts.av import AV, Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.envelope import smooth_energy
from harmony_parts.metrics.protocol import Reference
from harmony_parts.plugin import knob

STEP = 0.01  # s between the values that are correlated


@attrs.frozen
class Correlation:
    """Normalised cross-correlation of the picture's motion energy with the sound's envelope.

    c(lag) = sum over t of v(t) a(t + lag) / (|v| |a|) of the two signals minus their means, so a
    positive lag is sound after picture. Values that a lag shifts out of the clip count as 0, which
    slightly favours small lags and prevents chance agreement of short clips at large ones. A clip
    of 2 s has few independent values: chance is well above 0, so compare with re-paired clips. On
    speech it is at chance: use a metric of lip sync there.
    """

    reach: float = knob(0.5, help="greatest lag", unit="s", validator=attrs.validators.gt(0))
    sound: str = knob(
        "rise",
        help='"rise": growth of the envelope; "level": the envelope itself',
        validator=attrs.validators.in_(("rise", "level")),
    )
    smooth: float = knob(
        0.08,
        help="width of the triangular window on the sound signal (about two frames)",
        unit="s",
        validator=attrs.validators.gt(0),
    )

    def build(self, *, device: torch.device | str = "cpu") -> Correlation:
        """This object: without weights, the settings are the metric."""
        return self

    def analyse(self, clip: Clip) -> AV[np.ndarray]:
        """Motion energy and sound signal, each [N] at intervals of STEP s from 0."""
        return AV(
            video=(
                None if clip.frames is None else self.motion(clip.frames.numpy(), float(clip.fps))
            ),
            audio=(
                None
                if clip.waveform is None
                else self.envelope(clip.mono().numpy(), clip.sample_rate)
            ),
        )

    def motion(self, frames: np.ndarray, fps: float) -> np.ndarray:
        """[N] mean brightening of pixels between consecutive frames, 0 to 1.

        That of frames k - 1 and k is at k / fps, and later by `_delay`; values in between are
        interpolated linearly. Darkening isn't counted: after a flash it lasts as long as the decay,
        and would make the picture late. What moves brightens as much as it darkens.
        """
        if len(frames) < 2:
            return np.zeros(0)
        changes = [new.astype(np.int16) - old for old, new in pairwise(frames)]
        rise = np.array([np.maximum(change, 0).mean() for change in changes]) / 255
        fall = np.array([np.maximum(-change, 0).mean() for change in changes]) / 255
        times = np.arange(int(len(frames) / fps / STEP)) * STEP
        return np.interp(times, (np.arange(1, len(frames)) + _delay(fall)) / fps, rise)

    def envelope(self, sound: np.ndarray, rate: int) -> np.ndarray:
        """[N] root mean square over a window of 20 ms, or its growth, smoothed."""
        level = np.sqrt(smooth_energy(sound, rate, 0.02, STEP))
        if not len(level):
            return level
        if self.sound == "rise":
            # Central differences, since one-sided ones are half a step late.
            padded = np.pad(level, 1, mode="edge")
            level = np.maximum(padded[2:] - padded[:-2], 0) / 2
        half = max(1, round(self.smooth / STEP))
        window = 1 - np.abs(np.arange(-half, half + 1)) / (half + 1)
        return np.convolve(np.pad(level, half, mode="edge"), window / window.sum(), mode="valid")

    def score(
        self,
        video: np.ndarray,
        audio: np.ndarray,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """`correlation` (the peak within reach), its `lag_ms`, and `correlation_at_0`.

        Empty if a stream is constant.
        """
        length, reach = min(len(video), len(audio)), round(self.reach / STEP)
        if length < 2:
            return {}
        video, audio = (
            video[:length] - video[:length].mean(),
            audio[:length] - audio[:length].mean(),
        )
        scale = float(np.sqrt((video**2).sum() * (audio**2).sum()))
        if scale < 1e-12:
            return {}
        reach = min(reach, length - 1)
        # [2 reach + 1], of lags -reach ... reach
        values = (
            np.correlate(audio, video, mode="full")[length - 1 - reach : length + reach] / scale
        )
        lags = np.arange(-reach, reach + 1)
        best = int(np.argmax(values))
        peak, shift = float(values[best]), 0.0
        if 0 < best < 2 * reach:
            # The vertex of a parabola through the highest value and its neighbours.
            before, after = values[best - 1], values[best + 1]
            curvature = before - 2 * peak + after
            if curvature < 0:
                shift = float((before - after) / (2 * curvature))
                peak = min(1.0, peak - float((before - after) * shift / 4))
        return {
            "correlation": peak,
            "lag_ms": float(lags[best] + shift) * STEP * 1000,
            "correlation_at_0": float(values[reach]),
        }

    def reason(
        self, video: np.ndarray, audio: np.ndarray, reference: Reference | None = None
    ) -> str:
        """Why there is no number: a stream is constant, or too short."""
        if self.score(video, audio):
            return ""
        length = min(len(video), len(audio))
        if length < 2:
            return "the clip is too short"
        still = np.ptp(video[:length]) < np.ptp(audio[:length])
        return f"the {'motion' if still else 'sound'} is steady, or there is none"


def _delay(fall: np.ndarray) -> float:
    """How much later than frame k a flash is than its brightening, in frames, from 0 to 0.5.

    A flash at a share u of frame k, averaged over exposures, brightens k, and k + 1 if what it adds
    there outweighs its decay to q within a frame: if q^(1 - u) (2 - q) > 1. Then the share of k + 1
    grows from 0 to all of it, so it is 1/2 on average; u is so too. Hence the mean of u less that
    share is (1 - ln(2 - q) / ln(1 / q)) / 2. `fall` [T - 1], the darkening, shrinks by q a frame;
    of steady motion q is 1, and the delay 0.
    """
    square = float((fall[:-1] ** 2).sum())
    if square == 0:  # it never darkens: without a decay, an event is where its two frames say
        return 0.0
    q = min(max(float((fall[1:] * fall[:-1]).sum()) / square, 1e-9), 1 - 1e-6)
    return (1 - float(np.log(2 - q) / np.log(1 / q))) / 2
