"""Lip sync: the opening velocity of mouths against the rise of the speech band."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import torch

from harmony_lips.faces import Finder, make_finder
from harmony_lips.flow import dis, opening_velocity
from harmony_lips.signals import (
    STEP,
    band_level,
    correlations,
    rise,
    triangle,
    vertex,
    without_drift,
)
from harmony_lips.tracking import find, follow
from harmony_parts.av import AV, Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.plugin import knob

SHORTEST = 1.0  # s of clip, in addition to the reach; shorter clips get no score
SILENT = 1e-3  # of full scale: a speech band that is never louder has no speech
STEADY = 2.0  # ratio of loud to quiet (9th to 1st decile): noise and hum have less

Box = tuple[float, float, float, float]


def _boxes(given: Sequence[Sequence[float]]) -> tuple[Box, ...]:
    return tuple(tuple(float(side) for side in box) for box in given)  # type: ignore[misc]


def _inside(instance: object, attribute: object, given: tuple[Box, ...]) -> None:
    for box in given:
        if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            raise ValueError(
                f"boxes: a box is left, top, right, bottom as shares of the picture, not {box}"
            )


@attrs.frozen
class Lips:
    """c(lag) = sum of v(t) a(t + lag) / (|v| |a|) over the overlap; its peak within `reach`.

    v: opening velocity of a mouth, the mean vertical optical flow (DIS, arXiv:1603.03590) of the
    lower half of its box less that of the upper half. a: rise of the level of the speech band. Both
    lose their drift. `lip_correlation` is the peak, `lip_confidence` the peak less the median over
    the lags (as SyncNet builds its own, over other values), `lip_offset_ms` the lag of the peak:
    positive if the sound is late. Of several mouths and the sum of all (people who take turns), the
    one with the highest confidence counts. Defaults chosen on Soundstage's talking heads alone.
    """

    finder: str = knob(
        "haar", help='finder of faces: "haar", "yunet" or "module:callable"', source="OpenCV"
    )
    model: str = knob("", help="file of YuNet's weights", off="")
    boxes: tuple[Box, ...] = knob(
        (),
        help="mouth boxes in the first frame, left, top, right, bottom; no faces are sought then",
        unit="share of the picture",
        off=(),
        converter=_boxes,
        validator=_inside,
    )
    low: float = knob(
        300.0, help="lower edge of the band", unit="Hz", validator=attrs.validators.gt(0)
    )
    high: float = knob(
        3000.0, help="upper edge of the band", unit="Hz", validator=attrs.validators.gt(0)
    )
    power: float = knob(
        0.5, help="exponent of the level (1: amplitude)", validator=attrs.validators.gt(0)
    )
    smooth: float = knob(
        0.04,
        help="half width of the triangle on both signals",
        unit="s",
        validator=attrs.validators.gt(0),
    )
    drift: float = knob(
        0.8,
        help="width of the moving mean taken from both signals",
        unit="s",
        validator=attrs.validators.gt(0),
    )
    reach: float = knob(0.5, help="greatest offset", unit="s", validator=attrs.validators.gt(0))
    certain: float = knob(
        0.55,
        help="least confidence for an offset",
        source="Soundstage: 0.92 of the true sounds reach it, 0.12 of others",
        off=0.0,
        validator=attrs.validators.ge(0),
    )

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, which works on the CPU. Raises as `make_finder`."""
        return LipSync(self, None if self.boxes else make_finder(self.finder, self.model))


@attrs.frozen(eq=False)
class Mouths:
    """Opening velocity [speakers, N] at intervals of STEP s; `reason` says why there is none."""

    velocity: np.ndarray
    reason: str = ""


@attrs.frozen(eq=False)
class Speech:
    """Rise of the speech band [N] at intervals of STEP s; `reason` says why there is none."""

    rise: np.ndarray
    reason: str = ""


@attrs.frozen
class Match:
    """The best mouth (its number; `None` for all together) and the peak of its correlation."""

    speaker: int | None
    correlation: float
    confidence: float
    offset: float  # s


@attrs.frozen(eq=False)
class LipSync:
    """The metric of `Lips`; in Python, `finder` may be any `harmony_lips.faces.Finder`."""

    spec: Lips
    finder: Finder | None = None

    def analyse(self, clip: Clip) -> AV[Mouths | Speech]:
        """Opening velocities and the rise of the speech band."""
        return AV(
            video=None
            if clip.frames is None
            else self.mouths(clip.frames.numpy(), float(clip.fps)),
            audio=(
                None
                if clip.waveform is None
                else self.speech(clip.mono().numpy(), clip.sample_rate)
            ),
        )

    def mouths(self, frames: np.ndarray, fps: float) -> Mouths:
        """Of each mouth that is given or found in `frames` uint8 [T, H, W, 3]."""
        if len(frames) / fps < SHORTEST + 2 * STEP:
            return Mouths(np.zeros((0, 0)), "the picture is too short")
        flow = dis()
        if self.spec.boxes:
            height, width = frames.shape[1:3]
            pixels = np.array(self.spec.boxes) * (width, height, width, height)
            tracks = [follow(frames, box, flow) for box in pixels]
        else:
            assert self.finder is not None
            tracks = find(frames, fps, self.finder)
        if not tracks:
            return Mouths(np.zeros((0, 0)), "no face was found")
        times = np.arange(int(len(frames) / fps / STEP)) * STEP
        at = np.arange(1, len(frames)) / fps
        velocity = [
            np.interp(times, at, opening_velocity(frames, each, fps, flow)) for each in tracks
        ]
        return Mouths(np.stack([self._shaped(each) for each in velocity]))

    def speech(self, sound: np.ndarray, rate: int) -> Speech:
        """Of `sound` [samples]."""
        level = band_level(sound, rate, self.spec.low, self.spec.high)
        if len(level) * STEP < SHORTEST:
            return Speech(np.zeros(0), "the sound is too short")
        quiet, loud = np.quantile(level, (0.1, 0.9))
        if loud < SILENT or loud < STEADY * quiet:
            return Speech(np.zeros(0), "there is no speech: the band is silent or steady")
        return Speech(self._shaped(rise(level**self.spec.power)))

    def _shaped(self, values: np.ndarray) -> np.ndarray:
        return without_drift(triangle(values, self.spec.smooth), self.spec.drift)

    def match(self, video: Mouths, audio: Speech) -> Match | None:
        """The mouth that correlates best; `None` if there is none, no speech, or too little."""
        if self._missing(video, audio):
            return None
        reach = round(self.spec.reach / STEP)
        found: list[Match] = []
        candidates: list[tuple[int | None, np.ndarray]] = list(enumerate(video.velocity))
        if len(candidates) > 1:
            candidates.append((None, video.velocity.sum(0)))
        for speaker, velocity in candidates:
            values = correlations(velocity, audio.rise, reach)
            place, peak = vertex(values)
            confidence = peak - float(np.median(values))
            found.append(Match(speaker, peak, confidence, (place - reach) * STEP))
        return max(found, key=lambda each: each.confidence)

    def _missing(self, video: Mouths, audio: Speech) -> str:
        if video.reason or audio.reason:
            return video.reason or audio.reason
        length = min(video.velocity.shape[1], len(audio.rise)) * STEP
        if length < self.spec.reach + SHORTEST:
            return "the clip is too short for the reach"
        if not np.abs(video.velocity).max() > 0:
            return "no mouth moves"
        return ""

    def reason(self, video: Mouths, audio: Speech, reference: Reference | None = None) -> str:
        """Why it can't tell the offset, in words; empty if it can."""
        missing, match = self._missing(video, audio), self.match(video, audio)
        if match is None or match.confidence >= self.spec.certain:
            return missing
        return f"the confidence is low: {match.confidence:.2f}, below {self.spec.certain:g}"

    def score(
        self,
        video: Mouths,
        audio: Speech,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """`lip_correlation`, `lip_confidence`, and `lip_offset_ms` if the confidence allows it.

        Empty without a face, without speech, and for clips that are too short.
        """
        match = self.match(video, audio)
        if match is None:
            return {}
        numbers = {"lip_correlation": match.correlation, "lip_confidence": match.confidence}
        if match.confidence >= self.spec.certain:
            numbers["lip_offset_ms"] = 1000 * match.offset
        return numbers
