"""Tensors that a checkpoint lacks, initialised by the parts themselves from a seed."""

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
class RecordingSpec:
    """A spec that records the arguments of `build`, so that it can build again."""

    spec: Any
    arguments: dict[str, Any] = attrs.field(factory=dict)

    def build(self, **neighbours: Any) -> Any:
        """Build the spec and record the arguments."""
        self.arguments = neighbours
        return self.spec.build(**neighbours)

    def build_again(self) -> Any:
        """Build the spec with the recorded arguments."""
        return self.spec.build(**self.arguments)


class Fresh:
    """The freshly initialised tensors of a recipe's model, without the whole model in memory.

    `expected` are all tensors of the model on the meta device; `fresh[name]` is one of them,
    initialised with the smallest module around it, which is dropped when the next one is needed.
    The global generator isn't changed. Raises AssemblyError if the recipe can't be built.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        denoiser: Any = recipe.denoiser
        self._specs = {
            name: RecordingSpec(getattr(denoiser, name))
            for name in NEIGHBOURS
            if hasattr(denoiser, name)
        }
        recorded = attrs.evolve(recipe, denoiser=attrs.evolve(denoiser, **self._specs))
        self.parts: Parts = build(recorded, empty=("codecs", "encoders", "denoiser"))
        self.expected: dict[str, Tensor] = saved_modules(self.parts).state_dict()
        self._module: tuple[str, Mapping[str, Tensor]] = ("", {})

    def __getitem__(self, name: str) -> Tensor:
        """The freshly initialised tensor of that name."""
        match = re.match(
            r"denoiser\.branches\.\w+\.|denoiser\.blocks\.\d+\.\w+\.|encoders\.[\w-]+\.", name
        )
        assert match is not None, name
        group = match[0]
        if self._module[0] != group:
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(derived_seed(self.seed, group))
                self._module = (group, self._build(group.split(".")).state_dict())
        return self._module[1][name.removeprefix(group)]

    def _build(self, path: list[str]) -> nn.Module:
        """The module at that path, initialised again."""
        denoiser: Any = self.parts.denoiser
        module: Any
        match path:
            case ["encoders", name, _]:
                module = self.recipe.encoders[name].build(
                    format=self.recipe.format, codecs=self.parts.codecs
                )
            case ["denoiser", "branches", stream, _]:
                module = self._specs[stream].build_again()
            case [_, _, _, "interaction", _]:
                module = self._specs["interaction"].build_again()
            case _:
                module = denoiser.branches[path[3]].block()
        return cast(nn.Module, module)
