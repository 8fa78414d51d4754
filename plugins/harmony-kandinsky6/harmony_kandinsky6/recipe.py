"""The recipe of the published Kandinsky 6."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmony_diffusers.published import Published
from harmony_diffusers.scheduler import flow_shift

RECIPE = Path(__file__).parent / "kandinsky6.toml"
PLACES = ("codecs.video", "codecs.audio", "encoders.text", "denoiser")


def _settings(model: str, revision: str) -> Sequence[str]:
    return (f"sample.shift.shift={flow_shift(model, revision)}",)


KANDINSKY6 = Published(RECIPE, PLACES, home="none: name one", settings=_settings)

kandinsky6_recipe = KANDINSKY6.recipe
"""The recipe `kandinsky6.toml` with the shift of the model's scheduler; see `Published.recipe`."""
