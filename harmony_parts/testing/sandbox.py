"""What code can do by itself: it is stopped where it first reads a file, runs a program or asks the
network.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import all_suffixes
from types import FrameType
from typing import Any

INSTALLED = tuple({os.path.join(folder, "") for folder in (sys.prefix, sys.base_prefix)})
OUTSIDE = {
    "socket.connect": "would ask the network",
    "socket.getaddrinfo": "would ask the network",
    "subprocess.Popen": "would run a program",
}
_state = {"watching": False}


class Reached(BaseException):
    """Code reached for something outside. It is no Exception, so that libraries that would try
    again, or another way, let it pass.
    """


@contextmanager
def unaided() -> Iterator[None]:
    """Inside, Reached is raised where a file is read that is neither code nor installed with
    Python, a program is run, or the network asked.

    What modules do while they are imported is let pass: half of a module would stay behind, for all
    who import it later.
    """
    _watch()
    _state["watching"] = True
    try:
        yield
    finally:
        _state["watching"] = False


@cache
def _watch() -> None:
    """Python tells audit hooks of all that, whatever library does it. They stay for good; this one
    is idle outside of `unaided`.
    """
    sys.addaudithook(_heed)


def _heed(event: str, args: tuple[Any, ...], state: dict[str, bool] = _state) -> None:
    if not state["watching"]:
        return
    reached = OUTSIDE.get(event) or (
        f"would read {os.fsdecode(args[0])}" if event == "open" and _foreign(*args) else None
    )
    if reached and not _importing():
        raise Reached(reached)


def _importing() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _foreign(path: Any, mode: Any, flags: int) -> bool:
    if not isinstance(path, str | bytes) or flags & (os.O_WRONLY | os.O_RDWR):
        return False
    name = os.fsdecode(path)
    return not name.endswith(tuple(all_suffixes())) and not os.path.abspath(name).startswith(
        INSTALLED
    )
