"""Every scene meets the contract, and takes are the same in every format."""

from __future__ import annotations

import numpy as np
import pytest

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.scenes.rhythm import Rhythm
from harmony_parts.testing.contracts import check_scene

PARTS = Catalogue.discover(only=())
NAMES = [each.declaration.name for each in PARTS.list("scene")]


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_is_met(name: str) -> None:
    check_scene(PARTS.load("scene", name)())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_state_gives_the_same_events(name: str) -> None:
    scene = PARTS.load("scene", name)()
    one, two = (scene.draw(np.random.default_rng(5), 2.0, Rhythm()) for _ in range(2))
    assert list(one.events) == list(two.events)
    assert (one.caption, one.sound_caption) == (two.caption, two.sound_caption)
