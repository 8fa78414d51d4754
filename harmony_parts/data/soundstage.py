"""Soundstage: a seeded procedural world with the exact time of every event."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import torch

from harmony_parts.av import Format, Prompt
from harmony_parts.data.protocol import Event, Example
from harmony_parts.data.scenes.ball import Ball
from harmony_parts.data.scenes.bar import Bars
from harmony_parts.data.scenes.canvas import Canvas
from harmony_parts.data.scenes.hammer import Hammer
from harmony_parts.media.clip import Clip
from harmony_parts.plugin import knob

SCENES: dict[str, type[Ball] | type[Hammer] | type[Bars]] = {
    "ball": Ball,
    "hammer": Hammer,
    "bar": Bars,
}
VOICE = 1.0  # s, length of the reference sound


def _check_scenes(
    instance: object, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]
) -> None:
    unknown = [name for name in value if name not in SCENES]
    if unknown or not value:
        raise ValueError(
            f"scenes: {', '.join(unknown) or 'none'} given; choose one or more of"
            f" {', '.join(SCENES)}"
        )


@attrs.frozen
class Soundstage:
    """Settings of Soundstage's ambient set.

    Example i depends only on (seed, i, format); use another seed for held-out data.
    """

    scenes: tuple[str, ...] = knob(
        tuple(SCENES),
        help="scenes; example i has scene i modulo their number",
        validator=_check_scenes,
        converter=tuple,
    )
    size: int = knob(
        4096, help="number of examples", unit="examples", validator=attrs.validators.ge(1)
    )
    seed: int = knob(
        0, help="seed of the world; two seeds share no example", validator=attrs.validators.ge(0)
    )

    def build(self, *, format: Format, root: Path | None = None) -> SoundstageSet:
        """The data set; it needs no folder."""
        return SoundstageSet(self, format)


@attrs.frozen
class SoundstageSet:
    """The data set of `Soundstage`."""

    spec: Soundstage
    format: Format

    def __len__(self) -> int:
        return self.spec.size

    def example(self, index: int, generator: torch.Generator | None = None) -> Example:
        """Example `index`; `generator` isn't used. Raises IndexError outside 0 to size - 1."""
        if not 0 <= index < self.spec.size:
            raise IndexError(f"Soundstage has examples 0 to {self.spec.size - 1}, not {index}")
        form = self.format
        frames = form.frames
        seconds = float(frames / form.fps)
        samples = form.samples(frames)
        name = self.spec.scenes[index % len(self.spec.scenes)]
        # Three random streams, so that the events don't depend on the format's sample rate.
        plan, noise, other = (
            np.random.default_rng((self.spec.seed, index, stream)) for stream in range(3)
        )
        scene = SCENES[name].draw(plan, seconds)
        canvas = Canvas(frames, form.height, form.width, float(form.fps), scene.wall[1])
        scene.picture(canvas)
        picture = torch.from_numpy(canvas.frames())
        sound = torch.from_numpy(scene.sound(samples, form.sample_rate, noise))
        voice = scene.at_other_times(other, VOICE).sound(
            round(VOICE * form.sample_rate), form.sample_rate, other
        )
        return Example(
            name=f"{name}-{self.spec.seed}-{index}",
            clip=Clip(
                frames=picture, fps=form.fps, waveform=sound[None], sample_rate=form.sample_rate
            ),
            prompt=Prompt(
                caption=scene.caption,
                sound=scene.sound_caption,
                image=picture[0],
                voice=torch.from_numpy(voice),
            ),
            events=tuple(Event(time, what) for time, what in scene.events),
        )

    def fingerprint(self, index: int) -> str:
        """The index: an example depends only on the settings and its index."""
        return str(index)
