"""What prepared clips were made with: codecs and frozen encoders, their settings and weights.

These are all that latents and conditions depend on, beside the clips themselves. The versions of
packages aren't among them: an update would otherwise make millions of prepared clips useless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from harmony_parts.assembly.build import Parts
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.assembly.tables import unstructure
from harmony_parts.errors import RunError
from harmony_parts.latents.conditions import is_frozen
from harmony_parts.models.offload import part_modules


def made_with(recipe: Recipe, parts: Parts) -> dict[str, Any]:
    """The facts, as values that JSON can hold.

    `format` (rates and channels), `codecs` by stream and frozen `encoders` by name: each the part
    with its settings, as in a recipe, and a digest of its weights.
    """
    form = recipe.format
    codecs = {
        stream: _part(getattr(recipe.codecs, stream), f"{stream}_codec", parts.codecs[stream])
        for stream in parts.codecs
    }
    built: Mapping[str, Any] = parts.encoders
    encoders = {
        name: _part(recipe.encoders[name], "encoder", encoder)
        for name, encoder in built.items()
        if is_frozen(encoder)
    }
    rates = {"fps": str(form.fps), "sample_rate": form.sample_rate, "channels": form.channels}
    return {"format": rates, "codecs": codecs, "encoders": encoders}


def _part(spec: Any, kind: str, built: Any) -> dict[str, Any]:
    return {**unstructure(spec, kind=kind), "weights": weights_digest(built)}


def weights_digest(part: Any) -> str:
    """The SHA-256 of a part's weights and buffers, with those of its external modules."""
    digest = hashlib.sha256()
    for name, tensor in (
        entry for module in part_modules(part) for entry in module.state_dict().items()
    ):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        if tensor.numel():
            flat = tensor.detach().cpu().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_made_with(
    before: Mapping[str, Any], now: Mapping[str, Any], streams: tuple[str, ...], place: str
) -> None:
    """Raise RunError if clips were prepared with other parts than a model's.

    `now` are the facts of the model, which reads `streams` of the clips. The clips may have more:
    streams and conditions that the model doesn't read.
    """
    faults: list[str] = []
    fields = (["fps"] if "video" in streams else []) + (
        ["sample_rate", "channels"] if "audio" in streams else []
    )
    for field in fields:
        faults += _differ(f"$.format.{field}", before["format"].get(field), now["format"][field])
    for stream in streams:
        faults += _differ(f"$.codecs.{stream}", before["codecs"].get(stream), now["codecs"][stream])
    for name, encoder in now["encoders"].items():
        faults += _differ(f"$.encoders.{name}", before["encoders"].get(name), encoder)
    if faults:
        listed = "".join(f"\n  {fault}" for fault in faults)
        raise RunError(
            f"{place}: was prepared with other parts than the recipe's; prepare the clips again"
            f" with this recipe, or change it:{listed}"
        )


def _differ(path: str, before: Any, now: Any) -> Iterator[str]:
    """A line for each leaf that differs."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*before, *now)):
            yield from _differ(f"{path}.{key}", before.get(key), now.get(key))
    elif before != now:
        said = ("nothing" if value is None else repr(value) for value in (before, now))
        yield "{}: prepared with {}, the recipe has {}".format(path, *said)
