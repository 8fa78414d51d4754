"""What a checkpoint doesn't have: tensors as the parts make them, module by module, from a seed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import Parts, build, derived_seed
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.models.folder import saved_modules

NEIGHBOURS = ("video", "audio", "interaction")


@attrs.define(eq=False)
class Remembering:
    """A spec that remembers what it was built with, so that it can be built once more."""

    spec: Any
    told: dict[str, Any] = attrs.field(factory=dict)

    def build(self, **neighbours: Any) -> Any:
        """As the spec does."""
        self.told = neighbours
        return self.spec.build(**neighbours)

    def again(self) -> Any:
        """Another one."""
        return self.spec.build(**self.told)


class Fresh:
    """A model without numbers: `wanted` are its tensors, empty; `fresh[name]` is the tensor of that
    name as the model's parts make it.

    It is made with the smallest module around it, which is forgotten with the next one: a whole
    model isn't held. The global generator stays untouched. Raises AssemblyError for a recipe that
    can't be built.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        denoiser: Any = recipe.denoiser
        self._specs = {
            name: Remembering(getattr(denoiser, name))
            for name in NEIGHBOURS
            if hasattr(denoiser, name)
        }
        remembering = attrs.evolve(recipe, denoiser=attrs.evolve(denoiser, **self._specs))
        self.parts: Parts = build(remembering, empty=("codecs", "encoders", "denoiser"))
        self.wanted: dict[str, Tensor] = saved_modules(self.parts).state_dict()
        self._made: tuple[str, Mapping[str, Tensor]] = ("", {})

    def __getitem__(self, name: str) -> Tensor:
        """The fresh tensor."""
        match = re.match(
            r"denoiser\.branches\.\w+\.|denoiser\.blocks\.\d+\.\w+\.|encoders\.[\w-]+\.", name
        )
        assert match is not None, name
        group = match[0]
        if self._made[0] != group:
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(derived_seed(self.seed, group))
                self._made = (group, self._again(group.split(".")).state_dict())
        return self._made[1][name.removeprefix(group)]

    def _again(self, steps: list[str]) -> nn.Module:
        """A new module of that place."""
        denoiser: Any = self.parts.denoiser
        made: Any
        match steps:
            case ["encoders", name, _]:
                made = self.recipe.encoders[name].build(
                    format=self.recipe.format, codecs=self.parts.codecs
                )
            case ["denoiser", "branches", stream, _]:
                made = self._specs[stream].again()
            case [_, _, _, "interaction", _]:
                made = self._specs["interaction"].again()
            case _:
                made = denoiser.branches[steps[3]].block()
        return cast(nn.Module, made)
