"""A sandbox that stops code as soon as it opens a file, starts a program or opens a connection."""

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
    "socket.connect": "would use the network",
    "socket.getaddrinfo": "would use the network",
    "subprocess.Popen": "would run a program",
}
"""Audit event -> message."""
_state = {"active": False}


class OutsideAccess(BaseException):
    """Raised in a sandbox if code opens a file, starts a program or opens a connection.

    It isn't an Exception, so that libraries which retry after an error don't catch it.
    """


@contextmanager
def sandbox() -> Iterator[None]:
    """Raise OutsideAccess if code inside reads a file, runs a program or uses the network.

    Allowed are source files, files installed with Python, and writing. Imports are allowed to do
    anything: stopping one would leave a half-initialized module for everybody who imports it later.
    """
    _install_hook()
    _state["active"] = True
    try:
        yield
    finally:
        _state["active"] = False


@cache
def _install_hook() -> None:
    """Add the audit hook. Hooks can't be removed; this one is idle outside a sandbox."""
    sys.addaudithook(_on_event)


def _on_event(event: str, args: tuple[Any, ...], state: dict[str, bool] = _state) -> None:
    if not state["active"]:
        return
    access = OUTSIDE.get(event)
    if event == "open" and _is_outside(*args):
        access = f"would read {os.fsdecode(args[0])}"
    if access and not _importing():
        raise OutsideAccess(access)


def _importing() -> bool:
    """Whether an import is on the call stack."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _is_outside(path: Any, mode: Any, flags: int) -> bool:
    """Whether `open` reads a file that is neither code nor installed with Python."""
    if not isinstance(path, str | bytes) or flags & (os.O_WRONLY | os.O_RDWR):
        return False
    name = os.fsdecode(path)
    return not name.endswith(tuple(all_suffixes())) and not os.path.abspath(name).startswith(
        INSTALLED
    )
