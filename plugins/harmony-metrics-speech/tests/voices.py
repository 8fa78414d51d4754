"""Soundstage's voices, and what is done to sounds."""

from __future__ import annotations

import attrs
import numpy as np
import torch

from harmony_parts.av import Format
from harmony_parts.data.protocol import Example
from harmony_parts.data.rendering import render
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.scenes.rhythm import Rhythm
from harmony_parts.scenes.talk import Talk, TalkTake
from harmony_parts.scenes.voice import VOICES


def take(seed: int = 3, voice: int | None = None) -> TalkTake:
    """One person who speaks English for 3 s."""
    scene = Talk(pairs=0.0, languages=("English",))
    found = scene.draw(np.random.default_rng(seed), 3.0, Rhythm())
    return found if voice is None else attrs.evolve(found, voices=(VOICES[voice],))


def example(what: TalkTake, offset: float = 0.0) -> Example:
    """A small picture and 16 kHz."""
    return render(what, Format(12, 32, 48, 16000, 3.0), offset=offset)


def noisy(clip: Clip) -> Clip:
    """As much white noise as sound."""
    noise = torch.randn(clip.waveform.shape, generator=torch.Generator().manual_seed(0))
    level = clip.waveform.square().mean().sqrt()
    return attrs.evolve(clip, frames=None, waveform=clip.waveform + level * noise)


def clipped(clip: Clip) -> Clip:
    """20 times as loud, cut at the old peak."""
    peak = float(clip.waveform.abs().max())
    return attrs.evolve(clip, frames=None, waveform=(20 * clip.waveform).clamp(-peak, peak))


def part(clip: Clip, begin: float, end: float) -> Clip:
    """From one share of the clip to another."""
    n = clip.waveform.shape[1]
    sound = clip.waveform[:, int(begin * n) : int(end * n)].contiguous()
    return attrs.evolve(clip, frames=None, waveform=sound)


def numbers(metric: Metric, clip: Clip, reference: Reference | None = None) -> dict[str, float]:
    return metric.score(None, metric.analyse(clip).audio, None, reference)


def seconds_heard(sound: np.ndarray) -> str:
    """A recogniser of the length alone."""
    return f"{len(sound) / 16000:.0f} seconds"
