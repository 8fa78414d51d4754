"""The contract check of scenes refuses what breaks it."""

from __future__ import annotations

import re
from typing import Any

import attrs
import numpy as np
import pytest

from harmony_parts.av import Event
from harmony_parts.errors import PartContractError
from harmony_parts.scenes.hammer import Hammer
from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.rhythm import Rhythm
from harmony_parts.testing.contracts import check_scene


@attrs.frozen(eq=False)
class Changed:
    """A hammer's take, with some members replaced."""

    inner: Any
    changes: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name in self.changes:
            change = self.changes[name]
            return (lambda *args: change(self.inner, *args)) if callable(change) else change
        return getattr(self.inner, name)

    def again(self, *args: Any) -> Any:
        return Changed(self.inner.again(*args), self.changes)


@attrs.frozen
class Broken:
    """A scene that breaks one rule."""

    rule: str

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> Any:
        if self.rule == "global":
            np.random.random()  # noqa: NPY002
        if self.rule == "forgetful":
            rng = np.random.default_rng()
        if self.rule == "loud":
            rhythm = Rhythm()
        return Changed(Hammer().draw(rng, seconds, rhythm), CHANGES.get(self.rule, {}))


def _late(take: Any, mixer: Mixer) -> None:
    take.sound(mixer)
    mixer.add(0.1, np.full(10, np.nan))


def _left(take: Any, mixer: Mixer) -> None:
    take.sound(mixer)
    mixer._mix[0, 100:200] += 0.1 * len(mixer._mix) - 0.1


CHANGES: dict[str, dict[str, Any]] = {
    "mute": {"caption": ""},
    "dark": {"wall": (2.0, 0.0, 0.0)},
    "backwards": {"events": [Event(1.0, "b"), Event(0.5, "a")]},
    "after the end": {"events": [Event(7.0, "b")]},
    "smell": {"events": [Event(1.0, "b", None, ("smell",))]},
    "infinite": {"sound": _late},
    "left": {"sound": _left},
    "no sound": {"sound": lambda take, mixer: None},
}


@pytest.mark.parametrize(
    ("rule", "must"),
    [
        ("global", "not from numpy's global one"),
        ("forgetful", "the same take for the same state"),
        ("loud", "no events in a take with a silent rhythm"),
        ("mute", "have words in `caption`"),
        ("dark", "a colour of three numbers"),
        ("backwards", "events in order"),
        ("after the end", "within its 2 s"),
        ("smell", "events of known streams"),
        ("infinite", "finite sound"),
        ("left", "the mean of two channels"),
        ("no sound", "have sound in another performance"),
    ],
)
def test_a_broken_rule_is_named(rule: str, must: str) -> None:
    with pytest.raises(PartContractError, match=re.escape(must)):
        check_scene(Broken(rule), takes=2)


def test_the_unchanged_scene_passes() -> None:
    check_scene(Broken("none"), takes=2)
