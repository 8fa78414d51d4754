"""Batches of prepared clips that are read from where they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition, Prompt
from harmony_parts.latents.conditions import concatenate, conditions_of
from harmony_parts.latents.order import Draw
from harmony_parts.latents.sources import Batch
from harmony_parts.sources.protocol import Group, Reader


@attrs.frozen(eq=False)
class Fetched:
    """Clips of one shape, stacked on the CPU."""

    latents: AV[Tensor]
    conditions: Mapping[str, Condition]
    prompts: tuple[Prompt, ...]
    names: tuple[str, ...]


@attrs.define(eq=False, slots=False)
class Stored:
    """The clips of a reader: latents of `streams`, and the conditions that the model takes.

    `frozen` are the names of the conditions of frozen encoders; the trainable ones read the prompts
    at every step.
    """

    reader: Reader
    streams: tuple[str, ...]
    frozen: frozenset[str]
    trainable: tuple[nn.Module, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def groups(self) -> Sequence[Group]:
        """Those of the reader."""
        return self.reader.groups

    @cached_property
    def shapes(self) -> np.ndarray:
        """int [N]: equal numbers for clips whose latents of `streams` have equal shapes."""
        numbers: dict[tuple[object, ...], int] = {}
        own = [
            numbers.setdefault(tuple(shape[stream] for stream in self.streams), len(numbers))
            for shape in self.reader.shapes
        ]
        return np.array(own, dtype=np.int32)[self.reader.shape_of]

    def fetch(self, draws: Sequence[Draw]) -> Fetched:
        """Read the clips; the reader's errors name file and clip."""
        clips = [self.reader.read(draw.clip, draw.round, self.streams) for draw in draws]
        latents = AV(**{s: torch.stack([clip.latents[s] for clip in clips]) for s in self.streams})
        conditions = {
            name: concatenate([clip.conditions[name] for clip in clips])
            for name in clips[0].conditions
            if name in self.frozen
        }
        return Fetched(
            latents,
            conditions,
            tuple(clip.prompt for clip in clips),
            tuple(clip.name for clip in clips),
        )

    def batch(self, fetched: Fetched) -> Batch:
        """The clips on the device, with the conditions of trainable encoders."""
        latents = fetched.latents.map(lambda x: x.to(self.device))
        frozen = {name: c.to(self.device) for name, c in fetched.conditions.items()}
        trained = conditions_of(self.trainable, fetched.prompts)
        return Batch(latents, frozen | trained, fetched.names)
