"""Batches in their order, read ahead by worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import torch

from harmony_parts.latents.order import BatchOrder, Draw, Place, slice_of
from harmony_parts.latents.sources import Batch, Source

AHEAD = 2  # batches that each worker reads ahead


class BatchStream:
    """The batches of a source for one of `ranks` processes: its rows of every batch.

    `workers` processes read ahead; 0 reads in this process, when a batch is wanted. What they have
    read is no state: `fetch` is a function of the place alone.
    """

    def __init__(
        self,
        source: Source,
        order: BatchOrder,
        *,
        rank: int = 0,
        ranks: int = 1,
        workers: int = 0,
    ) -> None:
        self.source, self.order, self.workers = source, order, workers
        self.rows = slice_of(order.batch, rank, ranks)
        self._ahead: Iterator[Any] | None = None
        self._next = Place()  # what `_ahead` gives next

    def fetch(self, place: Place) -> tuple[Any, Place]:
        """What the batch at a place is made from, and the place after it.

        Raises whatever the source raises.
        """
        draws, after = self.order.draws(place)
        try:
            return self._fetch(draws, place, after), after
        except BaseException:
            self.close()
            raise

    def batch(self, fetched: Any) -> Batch:
        """The batch of what `fetch` returned."""
        batch = self.source.batch(fetched)
        return attrs.evolve(batch, first=self.rows.start, total=self.order.batch)

    def _fetch(self, draws: list[Draw], place: Place, after: Place) -> Any:
        if not self.workers:
            return self.source.fetch(draws[self.rows])
        if self._ahead is None or self._next != place:
            self.close()
            self._ahead = iter(
                torch.utils.data.DataLoader(
                    _Fetching(self.source),
                    batch_size=None,
                    collate_fn=_as_it_is,
                    sampler=_Ahead(self.order, place, self.rows),
                    num_workers=self.workers,
                    generator=torch.Generator(),  # it would draw from the global one
                    prefetch_factor=AHEAD,
                )
            )
        fetched = next(self._ahead)
        self._next = after
        if isinstance(fetched, _Failed):
            raise fetched.error
        return fetched

    def close(self) -> None:
        """End the worker processes."""
        self._ahead = None  # the loader's iterator joins its workers when it is freed


def _as_it_is(fetched: Any) -> Any:
    return fetched


@attrs.frozen(eq=False)
class _Fetching(torch.utils.data.Dataset[Any]):
    """What runs in a worker: the source's `fetch`, by a list of draws."""

    source: Source

    def __getitem__(self, draws: list[Draw]) -> Any:
        try:
            return self.source.fetch(draws)
        except Exception as error:  # as it is: the loader would make another class of it
            return _Failed(error)


@attrs.frozen(eq=False)
class _Failed:
    error: Exception


@attrs.frozen(eq=False)
class _Ahead(torch.utils.data.Sampler[list[Draw]]):
    """The draws of one process from a place on, without end."""

    order: BatchOrder
    place: Place
    rows: slice

    def __iter__(self) -> Iterator[list[Draw]]:
        place = self.place
        while True:
            draws, place = self.order.draws(place)
            yield draws[self.rows]
