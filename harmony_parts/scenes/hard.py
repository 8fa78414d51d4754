"""The hard set: the ambient set, harder by one number a level."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.plugin import default_part, knob
from harmony_parts.scenes.protocol import StageScene, Take
from harmony_parts.scenes.rhythm import Rhythm

number = attrs.validators.ge(0)
SETTINGS = ("events", "distractors", "knocks", "clutter", "jitter")  # of `inner`


@attrs.frozen
class Hard:
    """`inner` with each setting at `level` times its step, so that a plain model errs.

    A step of 0 leaves that difficulty out. `inner` needs the settings of `ambient`; the length of
    the clips is the format's.
    """

    level: float = knob(1.0, help="how hard; 0 is `inner` itself", off=0.0, validator=number)
    events: float = knob(0.35, help="more events a second a level, as a factor", validator=number)
    distractors: float = knob(1.5, help="more silent movers a level", validator=number)
    knocks: float = knob(1.0, help="more events a level that are only heard", validator=number)
    clutter: float = knob(3.0, help="more things on the wall a level", validator=number)
    jitter: float = knob(0.006, help="more camera shake a level", validator=number)
    inner: StageScene = knob(
        default_part("harmony_parts.scenes.ambient:Ambient"), help="the scene that gets harder"
    )

    @inner.validator
    def _has_the_settings(self, attribute: object, inner: StageScene) -> None:
        """Raise ValueError if `inner` lacks a setting that a level changes."""
        missing = [name for name in SETTINGS if not hasattr(inner, name)]
        if missing:
            raise ValueError(
                f"{type(inner).__name__} has no {', '.join(missing)}: `inner` is a scene with the"
                " settings of `ambient`, such as `ambient` itself with some of its scenes"
            )

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> Take:
        """A random take of the harder scene."""
        return self.harder().draw(rng, seconds, rhythm)

    def harder(self) -> StageScene:
        """`inner` with the settings of this level."""
        easy = self.inner
        return attrs.evolve(  # type: ignore[misc]
            easy,
            events=easy.events * (1 + self.level * self.events),  # type: ignore[attr-defined]
            **{
                name: getattr(easy, name) + round(self.level * getattr(self, name))
                for name in ("distractors", "knocks", "clutter")
            },
            jitter=easy.jitter + self.level * self.jitter,  # type: ignore[attr-defined]
        )
