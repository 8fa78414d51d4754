"""From a take of a scene to an example."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from harmony_parts.av import Format, Prompt, Truth
from harmony_parts.data.protocol import Example
from harmony_parts.media.clip import Clip
from harmony_parts.media.waveform import to_channels
from harmony_parts.scenes.canvas import Canvas
from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.protocol import Spoken, Take

VOICE = 1.0  # s, length of the reference audio


def render(
    take: Take,
    format: Format,
    *,
    name: str = "take",
    offset: float = 0.0,
    noise: np.random.Generator | None = None,
    other: np.random.Generator | None = None,
) -> Example:
    """The example of a take in a format: the same take gives the same clip.

    The sound is `offset` seconds after the picture (before it, if negative). `noise` gives the
    noise in the sound, `other` the performance of the reference audio; without them, both are
    seeded with 0.

        render(HammerTake(0.5, 0.5, red, grey, times=[0.5, 1.2]), format, offset=0.08)
    """
    noise, other = (np.random.default_rng(0) if rng is None else rng for rng in (noise, other))
    frames = format.frames
    canvas = Canvas(frames, format.height, format.width, float(format.fps), take.wall)
    take.picture(canvas)
    picture = torch.from_numpy(canvas.frames())
    sound = take_sound(take, format.samples(frames), format, offset, noise)
    again = take.again(other, VOICE)
    voice = take_sound(again, round(VOICE * format.sample_rate), format, 0.0, other)
    return Example(
        name=name,
        clip=Clip(frames=picture, fps=format.fps, waveform=sound, sample_rate=format.sample_rate),
        prompt=Prompt(**texts_of(take), image=picture[0], voice=voice),
        events=tuple(take.events),
        truth=_truth(take, canvas.middle.ravel(), offset),
    )


def texts_of(take: Take) -> dict[str, Any]:
    """The texts of a take's prompt."""
    speech = take.transcript if isinstance(take, Spoken) else None
    return {"caption": take.caption, "sound": take.sound_caption, "speech": speech}


def take_sound(
    take: Take, samples: int, format: Format, offset: float, rng: np.random.Generator
) -> Tensor:
    """float32 [channels, samples], later by `offset` seconds, rounded to a sample.

    Sounds are panned to their places in stereo; more channels are copies of the mono mix.
    """
    shift = round(offset * format.sample_rate)
    channels = 2 if format.channels == 2 else 1
    mixer = Mixer(samples + max(-shift, 0), format.sample_rate, rng, channels)
    take.sound(mixer)
    sound = to_channels(torch.from_numpy(mixer.sound()), format.channels)
    late = torch.nn.functional.pad(sound, (max(shift, 0), 0))
    return late[:, max(-shift, 0) :][:, :samples].contiguous()


def _truth(take: Take, times: np.ndarray, offset: float) -> Truth:
    if not isinstance(take, Spoken):
        return Truth(offset=offset)
    mouth = torch.from_numpy(take.mouth(times).astype(np.float32))
    return attrs.evolve(Truth(tuple(take.phonemes), mouth, tuple(take.speakers)), offset=offset)
