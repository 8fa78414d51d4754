"""Every error that the library raises on purpose. Each says what is wrong, where, and what to do
about it.
"""

from __future__ import annotations

from collections.abc import Iterable


class HarmonyError(Exception):
    """Base of all errors that a user can mend; the command line prints these without a
    traceback.
    """


class UnknownPart(HarmonyError):
    """No part of that kind has that name; names the nearest one, and the plugins that failed to
    load.
    """


class PartNameClash(HarmonyError):
    """A bare name that several plugins use, or one plugin that declares a name twice."""


class BrokenPart(HarmonyError):
    """A part is declared, but its code can't be imported."""


class PartContractError(HarmonyError):
    """A part, or a declaration of one, isn't what its kind asks for."""


class AssemblyError(HarmonyError):
    """A recipe that can't be built: one line for each fault, each beginning with its `$.path` in
    the recipe.
    """

    def __init__(self, faults: str | Iterable[str], where: str = "recipe") -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__(
            f"{where} can't be assembled:\n" + "\n".join(f"  {fault}" for fault in self.faults)
        )


class MediaError(HarmonyError):
    """A media file that can't be read or written: names the file and the cause."""


class RunError(HarmonyError):
    """A training run or a saved model that can't be started, resumed or loaded: names the folder
    and the cause.
    """


class RequestError(HarmonyError, ValueError):
    """A request for a clip, or a file of requests, that can't be fulfilled: names each fault."""
