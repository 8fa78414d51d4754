"""A lock on a folder: two processes would overwrite each other's files."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harmony_parts.errors import RunError

try:
    import fcntl
except ImportError:  # not on Windows, where the folder isn't locked
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


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
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "another process"
                raise RunError(
                    f"{folder}: {owner} is {doing} this folder; wait until it ends, or choose"
                    " another folder"
                ) from None
            except OSError:
                pass  # the file system has no locks
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
