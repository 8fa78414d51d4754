"""Names a plugin whose import ended the process, on the next start.

A crash in native code leaves no exception. So a mark, an empty file, exists while a plugin is
imported; a mark whose process is gone is of a start that this import ended.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def marks_folder() -> Path:
    """Where marks are: in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "harmony_parts", "importing")


@contextmanager
def marked(plugin: str, remedy: str) -> Iterator[None]:
    """Mark that `plugin` is being imported, and print a line if an earlier process ended in that.

    Without a folder for the marks it does nothing. It prints nothing on systems that don't show
    whether a process is alive.
    """
    mark = None
    with contextlib.suppress(OSError, RuntimeError):  # no home, or one that can't be written
        folder = marks_folder()
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{plugin}+*"):
            if not _is_alive(int(left.name.rpartition("+")[2])):
                left.unlink(missing_ok=True)
                print(
                    f"an earlier start ended while the plugin {plugin} was imported; {remedy}",
                    file=sys.stderr,
                    flush=True,
                )
        mark = folder / f"{plugin}+{os.getpid()}"
        mark.touch()
    try:
        yield
    finally:
        if mark is not None:
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
