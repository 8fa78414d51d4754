"""Guidance by other models, and by other words than the prompt's: what the sampler gets for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any, cast

import attrs
import torch
from torch import nn

from harmony_parts.assembly.build import Parts
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import Condition, Conditions, Prompt
from harmony_parts.denoisers.protocol import Denoiser
from harmony_parts.errors import RunError
from harmony_parts.latents.conditions import conditions_of
from harmony_parts.models.codec_files import without_paths
from harmony_parts.models.folder import saved_modules
from harmony_parts.models.offload import Offload, move_weights, weights_on_device
from harmony_parts.models.saved_parts import load_parts
from harmony_parts.sample.networks import Others, Words


@attrs.frozen
class Place:
    """Where a model's weights are while they work, in which type, and what is offloaded."""

    device: torch.device
    dtype: torch.dtype | None
    offload: Offload


class OtherModels:
    """The models that guidances name beside the model of a recipe; each is loaded once."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._loaded: dict[tuple[str, Place], Parts] = {}

    def load(self, name: str, place: Place) -> Parts:
        """The parts of a model, a run or a checkpoint.

        Raises RunError if there is none, or if its latents differ from those of the recipe.
        """
        key = name, place
        if key not in self._loaded:
            home = "cpu" if place.offload != "none" else place.device
            recipe, parts = load_parts(name, home, place.dtype)
            self._check_latents(name, recipe)
            saved_modules(parts).eval().to(dtype=place.dtype)
            for part in (parts.denoiser, *parts.encoders.values()):
                move_weights(part, home)
            self._loaded[key] = parts
        return self._loaded[key]

    def _check_latents(self, name: str, other: Recipe) -> None:
        """Raise RunError if codecs or format differ; a length of its own is no difference."""
        own, other = without_paths(self.recipe), without_paths(other)
        same = attrs.evolve(other.format, seconds=own.format.seconds) == own.format
        differs = [
            *([] if same else ["$.format"]),
            *(
                f"$.codecs.{stream}"
                for stream in ("video", "audio")
                if getattr(other.codecs, stream) != getattr(own.codecs, stream)
            ),
        ]
        if differs:
            raise RunError(
                f"{name}: can't guide {own.name}, because its latents are others:"
                f" {' and '.join(differs)} differ; name a model with the same codecs and format"
            )

    def networks(
        self,
        own: Parts,
        prompts: Sequence[Prompt],
        names: Iterable[str],
        place: Place,
        stack: ExitStack,
    ) -> Others:
        """The networks of a sampling run, for `sample`: of this model and of those in `names`.

        Models in `names` are loaded now, others when a pass needs them. Their denoisers are on
        the device until `stack` is closed.
        """
        used: dict[str, Parts] = {"": own}

        def parts_of(name: str) -> Parts:
            if name not in used:
                used[name] = self.load(name, place)
                stack.enter_context(
                    weights_on_device(used[name].denoiser, place.device, place.offload)
                )
            return used[name]

        def network(name: str, words: Words) -> tuple[Denoiser, Conditions]:
            parts = parts_of(name)
            changes: dict[str, Any] = dict(words)
            changed = [attrs.evolve(prompt, **changes) for prompt in prompts]
            return parts.denoiser, prompt_conditions(parts, changed, place)

        for name in names:
            parts_of(name)
        return network


def prompt_conditions(
    parts: Parts, prompts: Sequence[Prompt], place: Place
) -> dict[str, Condition]:
    """The conditions of the prompts from all encoders, by name."""
    conditions: dict[str, Condition] = {}
    for encoder in cast(Iterable[nn.Module], parts.encoders.values()):
        with weights_on_device(encoder, place.device, place.offload):
            conditions |= conditions_of([encoder], prompts)
    return conditions
