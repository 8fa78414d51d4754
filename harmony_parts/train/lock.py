"""One process at a time trains in a folder: two would write over each other's checkpoints."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harmony_parts.errors import RunError

try:
    import fcntl
except ImportError:  # Windows has none: there nothing is guarded
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made where there is none. The system lets go of it however the
    process ends, SIGKILL too.

    Raises RunError, naming the other process, where one holds it, or where the folder can't be
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
                whose = file.read().strip() or "another process"
                raise RunError(
                    f"{folder}: {whose} trains here at this moment; wait for its end, or choose"
                    " another folder"
                ) from None
            except OSError:
                pass  # a file system without locks
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
