"""A lock on a folder: two processes would overwrite each other's files."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from harmony_parts.errors import RunError

try:
    import fcntl
except ImportError:  # not on Windows, where the folder isn't locked
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
ORPHANS = 30.0  # s in which workers notice that their process was killed


@contextmanager
def lock_folder(folder: Path, doing: str = "training in") -> Iterator[None]:
    """Create the folder if needed, and lock it. The lock ends with the process, even by SIGKILL.

    `doing` tells in the message what the other process does.

    Raises RunError if another process, which it names, has the lock, or the folder can't be
    written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder}: can't be written: {error}") from error
    with file:
        if fcntl is not None:
            _lock(file, folder, doing)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _lock(file: TextIO, folder: Path, doing: str) -> None:
    """Lock an open file. If its owner was killed, wait for the workers that share its lock."""
    until = time.monotonic() + ORPHANS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            if not _was_killed(owner) or time.monotonic() > until:
                raise RunError(
                    f"{folder}: {owner} is {doing} this folder; wait until it ends, or choose"
                    " another folder"
                ) from None
            time.sleep(0.2)
        except OSError:
            return None  # the file system has no locks


def _was_killed(owner: str) -> bool:
    """Whether the process that a lock file names was of this machine, and is gone."""
    found = re.fullmatch(r"process (\d+) on (.*)", owner)
    if found is None or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
