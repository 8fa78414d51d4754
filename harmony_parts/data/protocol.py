"""A data set gives examples: a clip, a prompt for it, and the true events if they are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs
import torch

from harmony_parts.av import Event, Format, Prompt, Truth
from harmony_parts.media.clip import Clip
from harmony_parts.references.protocol import Piece, Recordings


@attrs.frozen(eq=False)
class Example:
    """One clip in the data set's format, its prompt, and what is known about it.

    `events`, in order, is `None` if they are unknown, an empty tuple if nothing happens. `truth`
    is `None` for most clips. `origin` and `reference`: where the clip and its prompt's voice were
    cut from, if the data set has recordings. `seconds` is the length of the recording that the clip
    was cut from, or filled up from, if that is known.
    """

    name: str
    clip: Clip
    prompt: Prompt
    events: tuple[Event, ...] | None = None
    truth: Truth | None = None
    origin: Piece | None = None
    reference: Piece | None = None
    seconds: float | None = None


class Dataset(Protocol):
    """Examples by number; every random choice (which cut, which voice) comes from `generator`.

    An example that can't be read raises MediaError: training reports it once and takes the next.
    Optional members are the protocols `HasNames`, `HasUnreadable`, `HasFingerprints`,
    `HasRecordings`, `HasContent`, `HasListing`, `HasTexts` and `HasExtent`.
    """

    def __len__(self) -> int:
        """Number of examples."""

    def example(self, index: int, generator: torch.Generator) -> Example:
        """Example `index` in the data set's format, determined by index and generator state.

        All clips of a data set have the same streams. The caller may write into the tensors. Raises
        IndexError after the last example.
        """


@runtime_checkable
class HasNames(Protocol):
    """A data set that knows the names of its examples without reading them.

    A resumed run compares them, so that it notices other data of the same number of examples.
    """

    @property
    def names(self) -> Sequence[str]:
        """The name of each example, in order."""


@runtime_checkable
class HasUnreadable(Protocol):
    """A data set that knows some examples to be bad: training lists them first, and skips them."""

    @property
    def unreadable(self) -> Mapping[int, str]:
        """Number of each bad example -> why it can't be used."""


@runtime_checkable
class HasFingerprints(Protocol):
    """A data set that can identify the content of its examples.

    Only such a data set's prepared examples are cached on disk.
    """

    def fingerprint(self, index: int) -> str:
        """A string that changes whenever the example would, such as a digest of its file.

        The data set's own settings needn't enter it. Raises OSError if a file can't be read.
        """


@runtime_checkable
class HasRecordings(Protocol):
    """A data set of recordings, from which any part `reference` can draw more references.

    For example `recordings` and `origin` are what `draw` takes: `sound(piece)` reads what it found.
    """

    @property
    def recordings(self) -> Recordings:
        """One for each example, by its number."""

    def sound(self, piece: Piece) -> torch.Tensor:
        """The sound of a piece in the data set's format, float32 [channels, samples].

        Raises MediaError if it can't be read.
        """


@runtime_checkable
class HasContent(Protocol):
    """A data set that knows which of its examples have equal content, such as copies of a file.

    Only examples of equal `size` are compared, so few files are read for it.
    """

    def size(self, index: int) -> int:
        """The size of the example's content in bytes. Raises OSError if it can't be read."""

    def digest(self, index: int) -> str:
        """A digest of the example's content. Raises OSError if it can't be read."""


@runtime_checkable
class HasListing(Protocol):
    """A data set that can list its examples without reading them.

    `harmony prepare` compares the list when it continues, so that it notices other data.
    """

    def listing(self) -> Iterator[str]:
        """For each example a text of what is known: its name, its size, its texts."""


@runtime_checkable
class HasTexts(Protocol):
    """A data set that knows the texts of its examples without reading or rendering them."""

    def texts(self, index: int) -> Mapping[str, str | None]:
        """The prompt's `caption`, `sound` and `speech`; those that it has."""


@runtime_checkable
class HasExtent(Protocol):
    """A data set that knows the extent of its recordings before it decodes them."""

    def extent(self, index: int) -> tuple[float | None, int | None, int | None]:
        """Seconds, height and width of the recording, `None` for each that is unknown.

        Raises MediaError if it can't be read.
        """


class DataSpec(Protocol):
    """Settings of a data set."""

    def build(self, *, format: Format, root: Path | None = None) -> Dataset:
        """The data set; `root` is the user's folder (`--data`).

        Raises AssemblyError if the data set needs a folder and there is none.
        """
