"""The sources of batches: clips encoded on the fly, or prepared clips in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import derived_seed
from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.data.protocol import Dataset, Example
from harmony_parts.latents.conditions import conditions_of
from harmony_parts.latents.encode import encode_examples
from harmony_parts.latents.order import Draw, single_group
from harmony_parts.sources.protocol import Group


@attrs.frozen(eq=False)
class Batch:
    """n clips: clean latents [n, ...], conditions, and names for messages.

    They are the rows `first` to `first` + n of a step's batch of `total` clips; another process has
    the other rows.
    """

    latents: AV[Tensor]
    conditions: dict[str, Condition]
    names: tuple[str, ...]
    first: int = 0
    total: int = attrs.field(
        default=attrs.Factory(lambda self: len(self.names), takes_self=True), kw_only=True
    )


class Source(Protocol):
    """Batches by the numbers of their clips, in two halves.

    `groups` and `shapes` are what the order of batches is made from (`BatchOrder`).
    """

    @property
    def groups(self) -> Sequence[Group]:
        """Which clips are drawn how often."""

    @property
    def shapes(self) -> np.ndarray:
        """int [N]: the number of each clip's shape. A batch has clips of one shape."""

    def __len__(self) -> int:
        """The number of clips."""

    def fetch(self, draws: Sequence[Draw]) -> Any:
        """Read clips: the half that may run ahead of time in a worker process."""

    def batch(self, fetched: Any) -> Batch:
        """The batch of what `fetch` returned. Trainable encoders run here, with gradients."""


@attrs.frozen(eq=False)
class OnTheFly:
    """Reads and encodes each clip when a step needs it: a new random cut each time, if the data set
    makes random cuts. They depend on `seed`, the clip and how often it was drawn.
    """

    dataset: Dataset
    format: Format
    codecs: AV[VideoCodec | AudioCodec]
    encoders: Mapping[str, nn.Module]
    device: torch.device
    seed: int = 0

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def groups(self) -> Sequence[Group]:
        """All clips alike."""
        return single_group(len(self))[0]

    @property
    def shapes(self) -> np.ndarray:
        """One: that of the format."""
        return single_group(len(self))[1]

    def fetch(self, draws: Sequence[Draw]) -> list[Example]:
        """Read the clips. The data set reports bad ones to this process, so no worker does it."""
        return [self.dataset.example(draw.clip, self._generator(draw)) for draw in draws]

    def batch(self, fetched: Sequence[Example]) -> Batch:
        """The clips, encoded now."""
        latents = encode_examples(fetched, self.format, self.codecs, self.device)
        conditions = conditions_of(self.encoders.values(), [example.prompt for example in fetched])
        return Batch(latents, conditions, tuple(example.name for example in fetched))

    def _generator(self, draw: Draw) -> torch.Generator:
        seed = derived_seed(self.seed, f"train:data:{draw.clip}:{draw.round}")
        return torch.Generator().manual_seed(seed)


@attrs.define(eq=False, slots=False)
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

    @cached_property
    def groups(self) -> Sequence[Group]:
        """All clips alike."""
        return single_group(len(self))[0]

    @cached_property
    def shapes(self) -> np.ndarray:
        """One."""
        return single_group(len(self))[1]

    def fetch(self, draws: Sequence[Draw]) -> Tensor:
        """Their numbers: the clips are in memory."""
        return torch.tensor([draw.clip for draw in draws], dtype=torch.long)

    def batch(self, fetched: Tensor) -> Batch:
        """The clips of these numbers, int64 [n]."""
        numbers = fetched.tolist()
        latents: AV[Tensor] = self.latents.map(lambda x: x.index_select(0, fetched).to(self.device))
        frozen = {name: c.rows(fetched).to(self.device) for name, c in self.conditions.items()}
        trained = conditions_of(self.trainable, [self.prompts[i] for i in numbers])
        return Batch(latents, frozen | trained, tuple(self.names[i] for i in numbers))
