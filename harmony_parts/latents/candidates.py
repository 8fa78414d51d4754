"""What `harmony prepare` considers: every recording of a data set once, in the shape that fits."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch

from harmony_parts.assembly.build import derived_seed
from harmony_parts.av import AV, Format
from harmony_parts.data.protocol import (
    Dataset,
    Example,
    HasContent,
    HasExtent,
    HasListing,
    HasUnreadable,
)
from harmony_parts.errors import MediaError
from harmony_parts.filters.protocol import Filter
from harmony_parts.references.protocol import Piece


@attrs.frozen(eq=False)
class Candidate:
    """What a worker made of one recording: an example with variants, or why there is none.

    `shape` is the number of its format. `features` are those of the filters. `voices` are further
    reference voices; `references` say where all of them, with the first, were cut from.
    """

    number: int
    shape: int = 0
    example: Example | None = None
    voices: tuple[torch.Tensor, ...] = ()
    references: tuple[Piece | None, ...] = ()
    features: tuple[AV[Any], ...] = ()
    fault: str = ""


@attrs.frozen(eq=False)
class Candidates(torch.utils.data.Dataset[Candidate]):
    """The recordings by number; runs in worker processes, with one decoded recording at a time.

    `sets` has a data set for each of `formats`, of the same recordings. Chance is a function of the
    seed and the number alone, so any worker makes the same of a recording.
    """

    formats: tuple[Format, ...]
    sets: tuple[Dataset, ...]
    filters: tuple[Filter, ...]
    variants: int
    seed: int

    def __len__(self) -> int:
        return len(self.sets[0])

    def __getitem__(self, number: int) -> Candidate:
        data = self.sets[0]
        if isinstance(data, HasUnreadable) and number in data.unreadable:
            return Candidate(number, fault=data.unreadable[number])
        try:
            shape = self._shape(number)
            example = self._example(number, shape, 0)
            others = [self._example(number, shape, k) for k in range(1, self.variants)]
        except MediaError as error:
            return Candidate(number, fault=str(error))
        features = tuple(each.analyse(example) for each in self.filters)
        further = [
            (voice, other.reference)
            for other in others
            if (voice := other.prompt.voice) is not None
        ]
        voices = tuple(voice for voice, _ in further)
        references = (example.reference, *(piece for _, piece in further))
        return Candidate(number, shape, example, voices, references, features)

    def _example(self, number: int, shape: int, variant: int) -> Example:
        seed = derived_seed(self.seed, f"prepare:{number}:{variant}")
        return self.sets[shape].example(number, torch.Generator().manual_seed(seed))

    def _shape(self, number: int) -> int:
        """The format that fits a recording: of the nearest shape of picture, the longest that the
        recording fills; the shortest if it fills none. Data sets that don't know get each in turn.
        """
        data = self.sets[0]
        if len(self.formats) == 1:
            return 0
        if not isinstance(data, HasExtent):
            return number % len(self.formats)
        seconds, height, width = data.extent(number)

        def misfit(k: int) -> tuple[float, bool, float]:
            form = self.formats[k]
            stretch = 0.0
            if height and width:
                stretch = abs(math.log(height * form.width / (width * form.height)))
            long = seconds is None or form.seconds <= seconds + 1 / form.fps
            return round(stretch, 6), not long, -form.seconds if long else form.seconds

        return min(range(len(self.formats)), key=misfit)


def duplicates(data: Dataset) -> dict[int, int]:
    """Number of each recording whose content an earlier one has -> number of the earlier one.

    Only recordings of one size are read for it. Unreadable ones are left out.
    """
    if not isinstance(data, HasContent):
        return {}
    by_size: dict[int, list[int]] = defaultdict(list)
    for number in range(len(data)):
        try:
            by_size[data.size(number)].append(number)
        except OSError:
            continue
    first: dict[str, int] = {}
    found: dict[int, int] = {}
    for numbers in by_size.values():
        for number in numbers if len(numbers) > 1 else ():
            try:
                digest = data.digest(number)
            except OSError:
                continue
            if first.setdefault(digest, number) != number:
                found[number] = first[digest]
    return found


def listing_digest(data: Dataset) -> str:
    """A digest of what is known of the recordings without reading them: names, sizes and texts."""
    digest = hashlib.sha256(str(len(data)).encode())
    for line in data.listing() if isinstance(data, HasListing) else ():
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def chance_of(
    filters: Sequence[Filter], features: Sequence[AV[Any]], before: Sequence[AV[Any]]
) -> Mapping[int, str | None]:
    """Number of each filter that reads both streams -> its judgement of a re-paired clip.

    The picture is that of `features`, the sound that of the clip `before`.
    """
    return {
        k: each.fault(features[k].video, before[k].audio)
        for k, each in enumerate(filters)
        if len(each.reads) == 2
    }
