"""The sources of batches: clips encoded on the fly, or prepared clips in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.data.protocol import Dataset
from harmony_parts.latents.encode import conditions_of, encode_examples


@attrs.frozen(eq=False)
class Batch:
    """n clips: clean latents [n, ...], conditions, and names for messages."""

    latents: AV[Tensor]
    conditions: dict[str, Condition]
    names: tuple[str, ...]


class Source(Protocol):
    """Batches by the numbers of their clips."""

    def __len__(self) -> int:
        """The number of clips."""

    def batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        """The clips of `index` (int64 [n]). Trainable encoders run here, with gradients."""


@attrs.frozen(eq=False)
class OnTheFly:
    """Reads and encodes each clip when a step needs it: a new random cut each time, if the data set
    makes random cuts.
    """

    dataset: Dataset
    format: Format
    codecs: AV[VideoCodec | AudioCodec]
    encoders: Mapping[str, nn.Module]
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        """The clips of `index`, read with `generator` and encoded now."""
        examples = [self.dataset.example(i, generator) for i in index.tolist()]
        latents = encode_examples(examples, self.format, self.codecs, self.device)
        conditions = conditions_of(self.encoders.values(), [example.prompt for example in examples])
        return Batch(latents, conditions, tuple(example.name for example in examples))


@attrs.frozen(eq=False)
class Prepared:
    """Prepared clips in memory: latents, and the conditions of frozen encoders.

    The trainable encoders read the prompts at every step. Everything is in the host's memory;
    batches are on `device`.
    """

    latents: AV[Tensor]
    conditions: Mapping[str, Condition]
    trainable: tuple[nn.Module, ...]
    prompts: tuple[Prompt, ...]
    names: tuple[str, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        """The clips of `index`; nothing is drawn from `generator`."""
        numbers = index.tolist()
        latents: AV[Tensor] = self.latents.map(lambda x: x.index_select(0, index).to(self.device))
        frozen = {name: c.rows(index).to(self.device) for name, c in self.conditions.items()}
        trained = conditions_of(self.trainable, [self.prompts[i] for i in numbers])
        return Batch(latents, frozen | trained, tuple(self.names[i] for i in numbers))
