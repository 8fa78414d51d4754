"""Progress as plain lines, for output that isn't a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST, EVERY = (
    2.0,
    5.0,
)  # seconds before the first line, so that quick work prints none; between lines


class Pace:
    """Prints every few seconds how much is done and, from the pace so far, how much time is left.

    `say` prints a line; `now` returns a time in seconds.
    """

    def __init__(
        self, what: str, say: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self.what, self.say, self.now = what, say, now
        self.next = self.now() + FIRST
        self.first: tuple[int, float] | None = None

    def update(self, done: int, total: int) -> None:
        """Report that `done` of `total` pieces are done."""
        now = self.now()
        # the pace is measured from the first call on: the first piece includes loading and set-up
        if self.first is None:
            self.first = done, now
        counted, since = self.first
        if now < self.next or not counted < done < total:
            return
        self.next = now + EVERY
        left = (now - since) / (done - counted) * (total - done)
        self.say(f"{self.what}: {done} of {total}, about {left:.0f} s left")
