"""The card of a saved model, `README.md`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from harmony_parts.assembly.read import RECIPE
from harmony_parts.av import channel_layout

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe


def model_card(recipe: Recipe, text: str, state: Mapping[str, Tensor], notes: Iterable[str]) -> str:
    """The model card. Its parameter count is that of the saved tensors: denoiser and encoders."""
    data = tomllib.loads(text).get("data", {})
    settings = ", ".join(
        f"{name} = {_short(value)}" for name, value in data.items() if name != "use"
    )
    form = recipe.format
    shape = (
        f"{float(form.fps):g} frames a second of {form.height} x {form.width} pixels (height x"
        f" width), sound at {form.sample_rate} Hz, {channel_layout(form.channels)}"
    )
    lines = [
        f"# {recipe.name}",
        "",
        *([recipe.summary, ""] if recipe.summary else []),
        f"- Parameters: {sum(tensor.numel() for tensor in state.values()):,}",
        f"- Generates: {form.seconds:g} s, {shape}",
        f"- Data set of its recipe: {data.get('use', 'none')}"
        + (f" ({settings})" if settings else ""),
        *notes,
        f"- Everything else: {RECIPE} in this folder",
    ]
    return "\n".join(lines) + "\n"


def _short(value: Any) -> str:
    """A setting in words; of a part only its name."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return str(value["use"]) if isinstance(value, dict) and "use" in value else repr(value)
