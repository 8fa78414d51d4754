"""A source gives prepared clips: latents, conditions and prompts, read one by one by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
from torch import Tensor

from harmony_parts.av import AV, Condition, Prompt


@attrs.frozen(eq=False)
class PreparedClip:
    """One clip: latents [T, H, W, C] and [T, C] on the CPU, conditions of one row, its prompt.

    `conditions` are those of frozen encoders. `prompt` is for the trainable ones, which run at
    every step.
    """

    name: str
    latents: AV[Tensor]
    conditions: Mapping[str, Condition]
    prompt: Prompt


@attrs.frozen(eq=False)
class Group:
    """Clips that are drawn equally often: their numbers, int64 [n], and their share of all draws.

    Shares are relative to those of the other groups.
    """

    clips: np.ndarray
    share: Fraction


class Reader(Protocol):
    """Prepared clips by number. It is sent to worker processes, and holds no open file.

    `made_with` says what made the clips, by the name of each fact; training compares it with the
    recipe's parts. Every clip has the streams that `streams` names.
    """

    @property
    def identity(self) -> str:
        """A text that changes whenever the clips or their numbers do: a resumed run compares it."""

    @property
    def made_with(self) -> Sequence[Mapping[str, Any]]:
        """What the clips were made with, for each preparation that they come from."""

    @property
    def streams(self) -> Sequence[str]:
        """The streams that every clip has."""

    @property
    def groups(self) -> Sequence[Group]:
        """Which clips are drawn how often. Every clip is in one group."""

    @property
    def shapes(self) -> Sequence[AV[tuple[int, ...]]]:
        """The different shapes of latents: clips of equal shapes can be in one batch."""

    @property
    def shape_of(self) -> np.ndarray:
        """int [N]: the index into `shapes` of each clip."""

    def __len__(self) -> int:
        """The number of clips."""

    def read(self, clip: int, round: int, streams: Sequence[str]) -> PreparedClip:
        """Clip `clip`, with latents of only these streams.

        `round` is how often it was drawn before, for a clip with several variants (of its reference
        voice). Raises MediaError, naming the file and the clip, if it isn't what was prepared.
        """


class SourceSpec(Protocol):
    """Settings of a source."""

    def build(self, *, root: str | Path | None = None) -> Reader:
        """The source; `root` is the folder or URL of the user (`--data`).

        Raises MediaError if it can't be opened, AssemblyError if it needs a place and there is
        none.
        """
