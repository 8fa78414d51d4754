"""The errors that the library raises on purpose: each message gives the cause and the remedy."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import FrameType


class HarmonyError(Exception):
    """Base class of every error that a user can fix.

    The command line prints the message without a traceback and exits with 1.
    """


class UnknownPart(HarmonyError):
    """Raised if no part, plugin or kind has the requested name.

    The message gives the nearest existing name, all names of that kind, and the plugins that failed
    to load.
    """


class PartNameClash(HarmonyError):
    """Raised if a part name is ambiguous: several plugins, or one plugin twice, declare it.

    The message gives the qualified names to use instead, or the packages in conflict.
    """


class BrokenPart(HarmonyError):
    """Raised if a part is declared but its class can't be imported.

    The message gives the part, its package and version, and the error of the import.
    """


class PartContractError(HarmonyError):
    """Raised if a part, or its declaration, doesn't meet the contract of its kind.

    The message gives the part and what it must do. Contract checks raise it too.
    """


class AssemblyError(HarmonyError):
    """Raised if a recipe can't be read, or its parts don't fit together.

    The message lists every fault on a line that begins with its `$.path` in the recipe. `faults`
    holds these lines. `name` is the name of the recipe.
    """

    def __init__(self, faults: str | Iterable[str], name: str = "recipe") -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__(
            f"{name} can't be assembled:\n" + "\n".join(f"  {fault}" for fault in self.faults)
        )


class MediaError(HarmonyError):
    """Raised if a media file can't be read or written.

    The message gives the file and the cause.
    """


class RunError(HarmonyError):
    """Raised if a training run or a saved model can't be started, resumed or loaded.

    The message gives the folder and the cause.
    """


class RequestError(HarmonyError, ValueError):
    """Raised if a request for a clip, or a batch file of requests, can't be fulfilled.

    The message gives every fault; for a batch file, with the file and the line.
    """


def notes(error: BaseException) -> tuple[str, ...]:
    """What was added to an exception on its way."""
    return tuple(getattr(error, "__notes__", ()))


def nearest(wrong: str, right: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest name in `right`, "" if none is close."""
    close = difflib.get_close_matches(wrong, list(right), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


_PACKAGE = str(Path(__file__).parent)
_WRAPPERS = ("torch", "contextlib")  # modules whose decorators stand between a call and its caller


def warn_caller(message: str) -> None:
    """Warn with the line that called the package, however deep the call to this function is."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_inside(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _is_inside(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return frame.f_code.co_filename.startswith(_PACKAGE) or module.split(".")[0] in _WRAPPERS
