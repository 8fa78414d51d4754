"""Events: sudden rises, detected separately in picture and sound, then matched to each other."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import torch

from harmony_parts.av import AV, Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.envelope import smooth_energy
from harmony_parts.metrics.protocol import Reference
from harmony_parts.plugin import knob

LUMA = np.array([0.2126, 0.7152, 0.0722])  # BT.709
FLICKER = 4.0  # a flash is this many times the root mean square of the rises between the flashes
# A flash exceeds the maximum of the last `apart` seconds by this share of its rise; otherwise it is
# flicker that returns.
NEW = 0.3
WINDOW, HOP = 0.03, 0.002  # s, of the sound's energy


@attrs.frozen
class Events:
    """Matched events of picture and sound: matched share of each stream, offsets, counts and F1.

    A picture event is a rise of the mean brightness, a sound event a rise of the level. Sharper
    clips show more events, which raises F1 by itself: claims about sync rest on the matched shares
    and the offsets.
    """

    tolerance: float = knob(
        0.1,
        help="greatest distance of two events that match",
        unit="s",
        validator=attrs.validators.ge(0),
    )
    apart: float = knob(
        0.2,
        help="least distance of events of one stream; of nearer ones the weaker is dropped",
        unit="s",
        validator=attrs.validators.ge(0),
    )
    flash: float = knob(
        0.012,
        help="least rise of the mean brightness (black to white is 1)",
        unit="brightness",
        validator=attrs.validators.gt(0),
    )
    onset: float = knob(
        10.0,
        help="least rise of the sound's level within 60 ms",
        unit="dB",
        validator=attrs.validators.gt(0),
    )
    floor: float = knob(
        25.0,
        help="level below the clip's peak that counts as silence",
        unit="dB",
        validator=attrs.validators.gt(0),
    )
    contrast: float = knob(
        0.3,
        help="least rise of the picture, as a share of the clip's strongest",
        off=0.0,
        validator=[attrs.validators.ge(0), attrs.validators.le(1)],
    )

    def build(self, *, device: torch.device | str = "cpu") -> Events:
        """This object: without weights, the settings are the metric."""
        return self

    def analyse(self, clip: Clip) -> AV[np.ndarray]:
        """Event times in seconds, ascending, of each stream that the clip has."""
        return AV(
            video=None
            if clip.frames is None
            else self.flashes(clip.frames.numpy(), float(clip.fps)),
            audio=(
                None
                if clip.waveform is None
                else self.onsets(clip.mono().numpy(), clip.sample_rate)
            ),
        )

    def flashes(self, frames: np.ndarray, fps: float) -> np.ndarray:
        """Times of sudden rises of the mean brightness of `frames` [T, H, W, 3].

        The mean is constant while objects move in front of a uniform background, and jumps with a
        flash.
        """
        if len(frames) < 2:
            return np.zeros(0)
        light = frames.reshape(len(frames), -1, 3).mean(1) @ LUMA / 255
        # [T + 1]: rise[k] into frame k
        rise = np.maximum(np.diff(light, prepend=light[0], append=light[-1]), 0)
        # [T]: over two frames, since an event within frame k brightens k and k + 1
        pair = rise[:-1] + rise[1:]
        peaks = strongest(
            pair, max(self.flash, self.contrast * float(pair.max())), max(2.0, self.apart * fps)
        )
        # Rises between the events are flicker, which a flash must exceed clearly.
        between = np.delete(
            pair, [k + near for k in peaks for near in (-1, 0, 1) if 0 <= k + near < len(pair)]
        )
        flicker = FLICKER * float(np.sqrt(np.mean(between**2))) if len(between) else 0.0
        back = max(1, int(self.apart * fps))
        before = [light[max(0, k - back) : max(k, 1)].max() for k in peaks]
        clear = [
            k
            for k, old in zip(peaks, before)
            if pair[k] > flicker and light[k : k + 2].max() - old > NEW * pair[k]
        ]
        # If frame k has little of the rise, the event is in frame k + 1.
        starts = [k + int(rise[k] < 0.1 * pair[k]) for k in clear]
        return np.array([instant(light, k) / fps for k in starts])

    def onsets(self, sound: np.ndarray, rate: int) -> np.ndarray:
        """Times of sudden rises of the level of `sound` [samples].

        The time of a rise is where the energy passes half of its next peak. The level is clipped at
        `floor` below the clip's peak and at -60 dB of full scale. With normal noise of 0.5 added to
        the latents of the log-mel codec, the defaults find Soundstage's events with an F1 of 0.95
        (a window of 16 ms, 7 dB and a floor of 40 dB: 0.67).
        """
        energy = smooth_energy(sound, rate, WINDOW, HOP)  # [N]
        if len(energy) < 2:
            return np.zeros(0)
        level = 10 * np.log10(
            np.maximum(energy, max(energy.max() * 10 ** (-self.floor / 10), 1e-6))
        )
        reach = round(0.03 / HOP)
        padded = np.pad(level, reach, mode="edge")
        around = np.lib.stride_tricks.sliding_window_view(padded, reach + 1)
        # highest of the next 30 ms above the lowest of the last 30 ms
        rise = around[reach:].max(1) - around[: len(level)].min(1)
        # On a broad rise, prefer the steepest point: weigh by the slope of the energy.
        slope = np.maximum(np.diff(level, append=level[-1]), 0)
        peaks = strongest(np.where(slope > 0, rise + 1e-3 * slope, 0), self.onset, self.apart / HOP)
        times = []
        for k in peaks:
            first, last = max(0, k - reach), min(len(energy), k + reach + 1)
            top = first + int(energy[first:last].argmax())
            half = energy[top] / 2
            j = top
            while j > 0 and energy[j - 1] > half:
                j -= 1
            part = (energy[j] - half) / (energy[j] - energy[j - 1]) if j > 0 else 0.0
            times.append(max(0.0, (j - part) * HOP))
        return np.array(times)

    def score(
        self,
        video: np.ndarray,
        audio: np.ndarray,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """Numbers of the match of `video` [N] and `audio` [M], event times in s.

        Offsets are sound minus picture. With `truth`, each stream is matched with it too.
        """
        pairs = match(video, audio, self.tolerance)
        numbers: dict[str, float] = {
            "video_events": float(len(video)),
            "audio_events": float(len(audio)),
            "matched": float(len(pairs)),
        }
        if len(video):
            numbers["video_matched"] = len(pairs) / len(video)
        if len(audio):
            numbers["audio_matched"] = len(pairs) / len(audio)
        if pairs:
            offsets = 1000 * np.array([audio[j] - video[i] for i, j in pairs])
            numbers |= {
                "offset_ms": float(np.median(np.abs(offsets))),
                "offset_bias_ms": float(np.median(offsets)),
            }
        if len(video) + len(audio):
            numbers["f1"] = 2 * len(pairs) / (len(video) + len(audio))
        if truth is not None:
            numbers["truth_events"] = float(len(truth))
            for stream, found in (("video", video), ("audio", audio)):
                times = np.array([event.time for event in truth if stream in event.streams])
                if len(found) + len(times):
                    numbers[f"{stream}_truth_f1"] = (
                        2 * len(match(found, times, self.tolerance)) / (len(found) + len(times))
                    )
        return numbers

    def reason(
        self, video: np.ndarray, audio: np.ndarray, reference: Reference | None = None
    ) -> str:
        """Why there is no offset: too few events, or none that match."""
        lacking = [word for word, found in (("seen", video), ("heard", audio)) if not len(found)]
        if lacking:
            return f"no event is {' or '.join(lacking)}"
        if match(video, audio, self.tolerance):
            return ""
        return f"no event is heard within {self.tolerance:g} s of a seen one"

    def weights(self, numbers: dict[str, float]) -> dict[str, float]:
        """The number of events of each share or median, so that its mean counts each event once."""
        video, audio, truth = (
            numbers["video_events"],
            numbers["audio_events"],
            numbers.get("truth_events", 0.0),
        )
        return {
            "video_matched": video,
            "audio_matched": audio,
            "offset_ms": numbers["matched"],
            "offset_bias_ms": numbers["matched"],
            "f1": video + audio,
            "video_truth_f1": video + truth,
            "audio_truth_f1": audio + truth,
        }


def instant(light: np.ndarray, k: int) -> float:
    """The time, in frames, of a flash that brightens the frames k and k + 1 of `light` [T].

    A light that jumps at k + f and decays by q a frame, exposed over whole frames, adds L[k] ~ 1 -
    q^(1-f) and L[k+1] ~ q^(1-f) (1 - q), so q^(1-f) = 1 / (1 + r (1 - q)) with r = L[k] / L[k+1]. q
    is estimated from the next frame.
    """
    above = np.maximum(light[k : k + 3] - light[max(k - 1, 0)], 0)
    if len(above) < 2 or above[1] == 0:
        return float(k)  # the time within the frame is unknown
    q = float(np.clip(above[2] / above[1] if len(above) == 3 else 0.6, 0.2, 0.95))
    left = -np.log1p(above[0] / above[1] * (1 - q)) / np.log(q)
    return float(k + 1 - np.clip(left, 0, 1))


def strongest(strength: np.ndarray, least: float, apart: float) -> list[int]:
    """Indices of the largest values of `strength` [N], at least `least` and `apart` steps apart.

    A value is dropped if a larger one is nearer than `apart`. The result is ascending.
    """
    chosen: list[int] = []
    for k in np.argsort(-strength, kind="stable"):
        if strength[k] < least:
            break
        if all(abs(k - other) >= apart for other in chosen):
            chosen.append(int(k))
    return sorted(chosen)


def match(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, tolerance: float
) -> list[tuple[int, int]]:
    """One-to-one pairs (i, j) of ascending times with |first[i] - second[j]| <= tolerance.

    The matching has the most pairs, and among those the least sum of distances. Pairs needn't
    cross, so dynamic programming over prefixes finds it.
    """
    n, m = len(first), len(second)
    # (-pairs, distance)
    best: list[list[tuple[int, float]]] = [[(0, 0.0)] * (m + 1) for _ in range(n + 1)]
    for i in range(n):
        for j in range(m):
            distance = abs(float(first[i]) - float(second[j]))
            best[i + 1][j + 1] = min(best[i][j + 1], best[i + 1][j])
            if distance <= tolerance:
                pairs, total = best[i][j]
                best[i + 1][j + 1] = min(best[i + 1][j + 1], (pairs - 1, total + distance))
    pairs_found: list[tuple[int, int]] = []
    i, j = n, m
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs_found.append((i, j))
    return pairs_found[::-1]
