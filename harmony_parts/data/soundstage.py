"""Soundstage: a seeded procedural world with the exact time of every event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from harmony_parts.av import Format
from harmony_parts.data.protocol import Example
from harmony_parts.data.rendering import render, texts_of
from harmony_parts.errors import warn_caller
from harmony_parts.plugin import default_parts, knob
from harmony_parts.scenes.captions import brief
from harmony_parts.scenes.protocol import StageScene, Take
from harmony_parts.scenes.rhythm import Rhythm

HELD_OUT = 50


@attrs.frozen
class Soundstage:
    """Settings of Soundstage: which scenes, how many examples, and their seed.

    Example i depends only on (seed, i, format); use another seed for validation data. The cases of
    `held_out` are for comparing models, and no seed of the training examples gives one of them.
    """

    scenes: tuple[StageScene, ...] = knob(
        default_parts(
            "harmony_parts.scenes.ball:Ball",
            "harmony_parts.scenes.hammer:Hammer",
            "harmony_parts.scenes.bar:Bar",
        ),
        help="scenes; example i has scene i modulo their number",
        validator=attrs.validators.min_len(1),
        converter=tuple,
    )
    size: int = knob(
        4096, help="number of examples", unit="examples", validator=attrs.validators.ge(1)
    )
    seed: int = knob(
        0, help="seed of the world; two seeds share no example", validator=attrs.validators.ge(0)
    )
    held_out: bool = knob(
        False,
        help=f"the {HELD_OUT} held-out cases of the scenes instead of `size` training examples",
        off=False,
    )
    brief: float = knob(
        0.0,
        help="share of the examples whose captions leave out a random part, as people's do",
        off=0.0,
        validator=attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1)),
    )
    offset: float = knob(
        0.0, help="delay of the sound after the picture, for validating metrics", unit="s", off=0.0
    )

    def build(self, *, format: Format, root: Path | None = None) -> SoundstageSet:
        """The data set. It needs no folder, and warns that one isn't read."""
        if root is not None:
            warn_caller(
                f"Soundstage is computed, so nothing of {root} is used; to train on clips in it,"
                " use the recipe `clips`, or --set data.use=clips"
            )
        return SoundstageSet(self, format)


@attrs.frozen
class SoundstageSet:
    """The data set of `Soundstage`."""

    spec: Soundstage
    format: Format

    def __len__(self) -> int:
        return HELD_OUT if self.spec.held_out else self.spec.size

    def example(self, index: int, generator: torch.Generator | None = None) -> Example:
        """Example `index`; `generator` isn't used. Raises IndexError outside 0 to size - 1."""
        take = self._take(index)
        scene = self.spec.scenes[index % len(self.spec.scenes)]
        noise, other = self._random(index, 1), self._random(index, 2)
        name = f"{type(scene).__name__.lower()}-{self.spec.seed}-{index}"
        if self.spec.held_out:
            name += "-held-out"
        made = render(
            take, self.format, name=name, offset=self.spec.offset, noise=noise, other=other
        )
        texts = self._texts(take, index)
        return attrs.evolve(made, prompt=attrs.evolve(made.prompt, **texts))

    def _take(self, index: int) -> Take:
        if not 0 <= index < len(self):
            raise IndexError(f"Soundstage has examples 0 to {len(self) - 1}, not {index}")
        scene = self.spec.scenes[index % len(self.spec.scenes)]
        seconds = float(self.format.frames / self.format.fps)
        return scene.draw(self._random(index, 0), seconds, Rhythm())

    def _random(self, index: int, stream: int) -> np.random.Generator:
        """One of four random streams, so that the events don't depend on the sample rate.

        A further number, which training examples don't have, sets the held-out cases apart.
        """
        apart = (1,) if self.spec.held_out else ()
        return np.random.default_rng((self.spec.seed, index, stream, *apart))

    def texts(self, index: int) -> dict[str, Any]:
        """Those of the scene's take, which isn't rendered for it."""
        return self._texts(self._take(index), index)

    def _texts(self, take: Take, index: int) -> dict[str, Any]:
        texts, rng = texts_of(take), self._random(index, 3)
        if rng.uniform() < self.spec.brief:
            texts |= {name: brief(texts[name], rng) for name in ("caption", "sound")}
        return texts

    def fingerprint(self, index: int) -> str:
        """The index: an example depends only on the settings and its index."""
        return str(index)
