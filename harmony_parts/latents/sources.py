"""Where the batches of a run come from."""

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
    """n clips: clean latents [n, ...], their conditions, and their names for messages."""

    latents: AV[Tensor]
    conditions: dict[str, Condition]
    names: tuple[str, ...]


class Source(Protocol):
    """Batches by the numbers of their clips."""

    def __len__(self) -> int:
        """How many clips there are."""

    def batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        """The clips of `index` (int64 [n]). Trainable encoders are run here, with gradients."""


@attrs.frozen(eq=False)
class OnTheFly:
    """Every clip is made, and encoded, when a step asks for it: each time a new random cut, where
    the data set makes them.
    """

    dataset: Dataset
    format: Format
    codecs: AV[VideoCodec | AudioCodec]
    encoders: Mapping[str, nn.Module]
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        """See `Source`."""
        examples = [self.dataset.example(i, generator) for i in index.tolist()]
        latents = encode_examples(examples, self.format, self.codecs, self.device)
        conditions = conditions_of(self.encoders.values(), [example.prompt for example in examples])
        return Batch(latents, conditions, tuple(example.name for example in examples))


@attrs.frozen(eq=False)
class Prepared:
    """Clips kept in memory: latents, and what frozen encoders say. Encoders that are trained read
    the prompts at every step.
    """

    latents: AV[Tensor]
    frozen: Mapping[str, Condition]
    trained: tuple[nn.Module, ...]
    prompts: tuple[Prompt, ...]
    names: tuple[str, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        """See `Source`; nothing is left to `generator`."""
        numbers = index.tolist()
        latents: AV[Tensor] = self.latents.map(lambda x: x.index_select(0, index).to(self.device))
        kept = {
            name: condition.rows(index).to(self.device) for name, condition in self.frozen.items()
        }
        told = conditions_of(self.trained, [self.prompts[i] for i in numbers])
        return Batch(latents, kept | told, tuple(self.names[i] for i in numbers))
