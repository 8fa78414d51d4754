"""Ctrl-C and SIGTERM take effect between steps, so that a checkpoint follows a whole step."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import attrs

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME = 1.0  # s


@attrs.define
class StopRequest:
    """Whether a signal has requested the run to stop."""

    requested: bool = False
    time: float = 0.0  # of the monotonic clock


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Record the first Ctrl-C or SIGTERM, which schedulers send; a later one interrupts at once.

    What follows within SAME seconds is the first one again: at Ctrl-C a terminal and torchrun both
    send one to every process.

    Outside the main thread signals are left alone.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def record(number: int, frame: FrameType | None) -> None:
        if stop.requested and time.monotonic() - stop.time > SAME:
            raise KeyboardInterrupt
        if not stop.requested:
            stop.requested, stop.time = True, time.monotonic()

    before = {number: signal.signal(number, record) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
