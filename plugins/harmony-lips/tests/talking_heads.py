"""Soundstage's talking heads, with the place of each mouth in the first frame."""

from __future__ import annotations

import numpy as np

from harmony_parts.av import Format
from harmony_parts.data.protocol import Example
from harmony_parts.data.rendering import render
from harmony_parts.scenes.rhythm import Rhythm
from harmony_parts.scenes.talk import Talk, TalkTake

SECONDS = 3.0


def take(seed: int, **settings: float) -> TalkTake:
    """A take of `SECONDS` of one person, unless `pairs` says otherwise."""
    scene = Talk(**({"pairs": 0.0} | settings))
    return scene.draw(np.random.default_rng(seed), SECONDS, Rhythm())


def example(what: TalkTake, offset: float = 0.0, side: int = 160, fps: int = 25) -> Example:
    """The example of a take, square, its sound late by `offset` s."""
    return render(what, Format(fps, side, side, 16000, SECONDS), offset=offset)


def boxes(what: TalkTake, fps: int = 25) -> tuple[tuple[float, ...], ...]:
    """Boxes around the mouths in the first frame, as `TalkTake.picture` places them."""
    t, alone, found = 0.5 / fps, len(what.faces) == 1, []
    for k, x in enumerate(what.places()):
        phase, scale = 2 * np.pi * what.phases[k], 1.0 if alone else 0.74
        sway = what.motion * np.sin(2 * np.pi * 0.45 * t + phase)
        turn = what.motion * 0.035 * np.sin(2 * np.pi * 0.31 * t + 2 * phase)
        turn += 0.0 if alone else (0.03, -0.03)[k]
        nod = what.motion * 0.012 * np.sin(2 * np.pi * 0.8 * t + 3 * phase)
        middle = x + 0.012 * sway + scale * 1.1 * turn
        down = (0.46 if alone else 0.48) + 0.3 * nod + scale * (0.165 + 1.1 * nod)
        wide, high = 0.12 * scale, 0.085 * scale
        found.append((middle - wide, down - high, middle + wide, down + high))
    return tuple(found)
