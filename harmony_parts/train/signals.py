"""Ctrl-C and SIGTERM take effect between steps, so that a checkpoint follows a whole step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import attrs

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@attrs.define
class StopRequest:
    """Whether a signal has requested the run to stop."""

    requested: bool = False


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Record the first Ctrl-C or SIGTERM, which schedulers send; the second interrupts at once.

    Outside the main thread signals are left alone.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def record(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, record) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
