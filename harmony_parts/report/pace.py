"""Plain lines about work that takes longer than a moment, for where there is no terminal to draw a
bar on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST, EVERY = 2.0, 5.0  # seconds: work that is done by then needs no line; between two lines


class Pace:
    """`tell(done, total)` says now and then how far it is and how long it will take, as far as one
    can tell from its pace.
    """

    def __init__(
        self, what: str, say: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self.what, self.say, self.now = what, say, now
        self.next = self.now() + FIRST
        self.first: tuple[int, float] | None = None

    def tell(self, done: int, total: int) -> None:
        """`done` of `total` pieces are done."""
        now = self.now()
        # no measure for the others: what is made or loaded once is part of it
        if self.first is None:
            self.first = done, now
        known, since = self.first
        if now < self.next or not known < done < total:
            return
        self.next = now + EVERY
        left = (now - since) / (done - known) * (total - done)
        self.say(f"{self.what}: {done} of {total}, about {left:.0f} s left")
