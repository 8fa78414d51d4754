"""A data set gives examples: a clip, what one would have asked for to get it, and, where it is
known, the truth about its events.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import attrs
import torch

from harmony_parts.av import Format, Prompt
from harmony_parts.media.clip import Clip


@attrs.frozen
class Event:
    """Something that is seen and heard at `time` seconds; `what` names it."""

    time: float
    what: str


@attrs.frozen(eq=False)
class Example:
    """One clip in the data set's format, its prompt, and its events in order (`None` where nobody
    knows them; an empty tuple where nothing happens)."""

    name: str
    clip: Clip
    prompt: Prompt
    events: tuple[Event, ...] | None = None


class Dataset(Protocol):
    """Examples by number; every random choice (which cut, which voice) comes from `generator`.

    A data set may have `names`, those of its examples in their order, where it knows them without
    reading: then a run that is resumed with other data of the same number is found out. It may have
    `unreadable`, number -> cause of the examples that it knows to be bad: they are told before
    training, and left out. And it may have a function `fingerprint(index) -> str` of all that an
    example is made of but its settings, such as the content of a file: only then are prepared
    examples kept on disk.

    An example that can't be read raises MediaError: training names it once and takes the next one.
    """

    def __len__(self) -> int:
        """How many examples there are."""

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The example of that number, in the format that the data set was built for. Same index and
        generator state, same example.

        All clips of a data set have the same streams. The tensors are the caller's own, to write
        into. Raises IndexError after the last one.
        """


class DataSpec(Protocol):
    """Settings of a data set."""

    def build(self, *, format: Format, root: Path | None = None) -> Dataset:
        """The data set; `root` is the folder that the user named (`--data`), for those that read
        one: AssemblyError where it is lacking.
        """
