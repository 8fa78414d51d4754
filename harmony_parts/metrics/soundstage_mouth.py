"""How well the mouths of Soundstage's faces open with the speech."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import torch

from harmony_parts.av import AV, Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.envelope import smooth_energy
from harmony_parts.metrics.protocol import Reference

STEP = 0.01  # s between the values that are correlated
WINDOW = 0.04  # s, of the level: about a frame
LUMA = np.array([0.2126, 0.7152, 0.0722])  # BT.709
SHORTEST = 0.5  # s
SILENT = 1e-3  # of full scale: a sound that is never louder has no speech
STILL = 1e-3  # of white: a mouth that darkens by less doesn't move

Box = tuple[float, float, float, float]


def _mouth(x: float, y: float, scale: float) -> Box:
    return x - 0.16 * scale, y - 0.11 * scale, x + 0.16 * scale, y + 0.11 * scale


LAYOUTS: tuple[tuple[Box, ...], ...] = (
    (_mouth(0.5, 0.64, 1.0),),
    (_mouth(0.26, 0.613, 0.74), _mouth(0.74, 0.613, 0.74)),
    (_mouth(0.27, 0.791, 0.58),),
    (_mouth(0.73, 0.791, 0.58),),
)
"""Where Soundstage draws mouths, left, top, right, bottom as shares of the picture: of one person,
of two who take turns, and of one in either corner before another scene.
"""


@attrs.frozen
class SoundstageMouth:
    """`mouth_correlation` of the mouth's darkness with the level of the sound, without a lag.

    c = sum of v(t) a(t) / (|v| |a|), both less their means. v: how much darker than its median in
    time the box of a mouth is, which follows the true opening at 0.87. a: root mean square of the
    sound. The boxes are those at which Soundstage draws mouths; of its four layouts, the one with
    the highest correlation counts, as paired and re-paired. Other faces need `lips` of the plugin
    harmony-lips. Nothing is given for silence, or where no mouth moves.
    """

    def build(self, *, device: torch.device | str = "cpu") -> SoundstageMouth:
        """This object: without weights, the settings are the metric."""
        return self

    def analyse(self, clip: Clip) -> AV[np.ndarray]:
        """The darkness of each layout's mouths [4, N] and the level [M], every STEP s.

        Empty for a clip without a frame, or without sound.
        """
        return AV(
            video=None if clip.frames is None else darkness(clip.frames.numpy(), float(clip.fps)),
            audio=None if clip.waveform is None else level(clip.mono().numpy(), clip.sample_rate),
        )

    def score(
        self,
        video: np.ndarray,
        audio: np.ndarray,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """`mouth_correlation`; nothing for silence, or where no mouth moves."""
        if self.reason(video, audio):
            return {}
        length = min(video.shape[1], len(audio))
        found = max(_correlation(each[:length], audio[:length]) for each in video)
        return {"mouth_correlation": found}

    def reason(
        self, video: np.ndarray, audio: np.ndarray, reference: Reference | None = None
    ) -> str:
        """Why it can't tell, in words; empty if it can."""
        length = min(video.shape[1], len(audio))
        if length * STEP < SHORTEST:
            return f"the clip is shorter than {SHORTEST:g} s"
        if audio[:length].max() < SILENT:
            return "the sound is silent"
        return "no mouth moves" if video[:, :length].max() < STILL else ""


def darkness(frames: np.ndarray, fps: float) -> np.ndarray:
    """[layouts, N] how much darker the mouths in `frames` [T, H, W, 3] are than usually."""
    height, width = frames.shape[1:3]
    times = np.arange(int(len(frames) / fps / STEP)) * STEP
    middles = (np.arange(len(frames)) + 0.5) / fps
    found = np.zeros((len(LAYOUTS), len(times)))
    if not len(frames):
        return found
    for row, boxes in zip(found, LAYOUTS):
        for left, top, right, bottom in boxes:
            rows = slice(int(top * height), max(int(top * height) + 1, round(bottom * height)))
            columns = slice(int(left * width), max(int(left * width) + 1, round(right * width)))
            light = frames[:, rows, columns].astype(float) @ LUMA / 255
            darker = np.maximum(np.median(light, 0) - light, 0).mean((1, 2))
            row += np.interp(times, middles, darker)
    return found


def level(sound: np.ndarray, rate: int) -> np.ndarray:
    """[M] root mean square of `sound` [samples] every STEP s."""
    return np.sqrt(np.maximum(smooth_energy(sound, rate, WINDOW, STEP), 0))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two signals [N], 0 if one is constant."""
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale > 1e-9 else 0.0
