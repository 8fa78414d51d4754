"""Ctrl-C between two steps and not in the middle of one, so that what is saved is the state after a
whole step.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import attrs

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@attrs.define
class Asked:
    """Whether the run was asked to stop."""

    stop: bool = False


@contextmanager
def politely() -> Iterator[Asked]:
    """The first Ctrl-C (or SIGTERM, from schedulers) is noted, the second raised at once. Outside
    of the main thread it does nothing.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.stop:
            raise KeyboardInterrupt
        asked.stop = True

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
