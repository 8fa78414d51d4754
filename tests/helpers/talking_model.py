"""A model of fresh weights for scenes with events, and for scenes in which somebody talks."""

from __future__ import annotations

from pathlib import Path

import attrs

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.encoders.transcript import Transcript
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.metrics.correlation import Correlation
from harmony_parts.metrics.events import Events
from harmony_parts.scenes.ambient import Ambient
from harmony_parts.scenes.talk import Talk
from helpers.tiny_training import recipe


def talking_recipe() -> Recipe:
    """1 s of 16 x 16 pixels, two sampling steps with SyncCFG."""
    small = recipe()
    texts = {name: attrs.evolve(small.encoders[name], length=160) for name in ("caption", "sound")}
    return attrs.evolve(
        small,
        name="talking",
        encoders={**small.encoders, **texts, "speech": Transcript(width=8)},
        data=Soundstage(size=8, scenes=(Ambient(silent=0.0), Talk(pairs=0.0), Ambient())),
        metrics=(Events(), Correlation()),
        sample=attrs.evolve(small.sample, guidance=SyncCFG(), steps=2),
    )


def talking_model(folder: Path) -> Path:
    """The folder of the saved model."""
    return Pipeline.assemble(talking_recipe()).save(folder)
