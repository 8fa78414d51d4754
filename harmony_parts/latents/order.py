"""Which clips a step gets: a pure function of a seed, the epoch and the batch in it.

So two integers are the whole state of a run's data, and any number of processes and workers draw
the same batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import attrs
import numpy as np

from harmony_parts.sources.protocol import Group


class Draw(NamedTuple):
    """A clip's number, and how often it was drawn before."""

    clip: int
    round: int


@attrs.frozen
class Place:
    """Where in the data a run is: the epoch, and the batch in it that is drawn next."""

    epoch: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    batch: int = attrs.field(default=0, validator=attrs.validators.ge(0))


class _Bucket:
    """The clips of one shape: in each group in an endless sequence of shuffled rounds."""

    def __init__(self, members: Mapping[int, np.ndarray], shares: Mapping[int, Fraction]) -> None:
        self.members, self.shares = members, shares
        self.share = sum(shares.values(), Fraction(0))

    def member(self, draw: int) -> tuple[int, int]:
        """(group, number of the draw among those of that group) of draw `draw` of the bucket.

        Groups alternate as evenly as their shares allow: of the first n draws, a group has its
        share to within one.
        """
        rest, groups = self.share, list(self.shares.items())
        for group, share in groups[:-1]:
            p = share / rest
            before, after = (k * p.numerator // p.denominator for k in (draw, draw + 1))
            if after > before:
                return group, before
            draw, rest = draw - before, rest - share
        return groups[-1][0], draw


class BatchOrder:
    """An endless sequence of batches of `batch` clips, all of one shape.

    `shapes` int [N] gives the number of each clip's shape. In an epoch as many clips are drawn as
    there are, each group by its share, and within a group each shape by its number of clips. So
    without groups each clip is drawn once before any is drawn twice. The clips of a shape that
    don't fill a batch begin the next epoch's: none is left out or repeated. The shapes of the
    batches of an epoch come in random order.
    """

    def __init__(
        self, groups: Sequence[Group], shapes: np.ndarray, batch: int, seed: int = 0
    ) -> None:
        """Raises ValueError if there is no clip, or a group is empty or has no share."""
        if not groups or any(not len(group.clips) or group.share <= 0 for group in groups):
            raise ValueError("every group needs at least one clip and a share above 0")
        self.batch, self.seed = batch, seed
        self.size = sum(len(group.clips) for group in groups)
        whole = sum((group.share for group in groups), Fraction(0))
        members: dict[int, dict[int, np.ndarray]] = {}
        shares: dict[int, dict[int, Fraction]] = {}
        for number, group in enumerate(groups):
            of = shapes[group.clips]
            for shape in np.unique(of).tolist():
                some = group.clips[of == shape]
                members.setdefault(shape, {})[number] = some
                part = group.share / whole * len(some) / len(group.clips)
                shares.setdefault(shape, {})[number] = part
        self._buckets = [_Bucket(members[shape], shares[shape]) for shape in sorted(members)]
        self._shuffled = lru_cache(maxsize=4 * len(groups) * len(members))(_permutation)
        self._turns = lru_cache(maxsize=2)(self._planned)

    def draws(self, place: Place) -> tuple[list[Draw], Place]:
        """The clips of the batch at a place, and the place after it."""
        while place.batch >= len(turns := self._turns(place.epoch)):
            place = Place(place.epoch + 1, place.batch - len(turns))
        number = int(turns[place.batch])
        earlier = int(np.count_nonzero(turns[: place.batch] == number))
        first = (self._batches(self._buckets[number], place.epoch) + earlier) * self.batch
        drawn = [self._draw(number, draw) for draw in range(first, first + self.batch)]
        return drawn, attrs.evolve(place, batch=place.batch + 1)

    def _planned(self, epoch: int) -> np.ndarray:
        """The bucket of each batch of an epoch, int64 [batches]: in random order."""
        counts = [self._batches(b, epoch + 1) - self._batches(b, epoch) for b in self._buckets]
        turns = np.repeat(np.arange(len(counts)), counts)
        return turns[_permutation(len(turns), f"{self.seed}:epoch {epoch}")]

    def _batches(self, bucket: _Bucket, epoch: int) -> int:
        """The number of whole batches of a bucket before an epoch."""
        return int(epoch * self.size * bucket.share / self.batch)

    def _draw(self, bucket: int, draw: int) -> Draw:
        group, k = self._buckets[bucket].member(draw)
        clips = self._buckets[bucket].members[group]
        times, k = divmod(k, len(clips))
        order = self._shuffled(len(clips), f"{self.seed}:shape {bucket}:{group}:{times}")
        return Draw(int(clips[order[k]]), times)


def _permutation(size: int, use: str) -> np.ndarray:
    """A random order of the numbers below `size`, int64 [size], by the text `use`.

    It sorts raw numbers of Philox, which numpy guarantees to stay the same in later versions.
    """
    key = int.from_bytes(hashlib.blake2b(use.encode(), digest_size=16).digest())
    return np.argsort(np.random.Philox(key=key).random_raw(size), kind="stable")


def single_group(size: int) -> tuple[tuple[Group, ...], np.ndarray]:
    """(groups, shapes) of `size` clips of one shape that are drawn equally often."""
    return (Group(np.arange(size), Fraction(1)),), np.zeros(size, dtype=np.int32)


def slice_of(rows: int, rank: int, ranks: int) -> slice:
    """The rows of a batch that a process computes; sizes differ by one at most."""
    return slice(rows * rank // ranks, rows * (rank + 1) // ranks)
