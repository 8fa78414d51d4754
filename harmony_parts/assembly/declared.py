"""What discovery finds: declarations with their plugins, and the failures of plugins."""

from __future__ import annotations

import functools
import importlib.metadata

import attrs

from harmony_parts.assembly.kinds import KINDS
from harmony_parts.plugin import PartDeclaration

BUILT_IN = "harmony"
DISTRIBUTION = "harmony-parts"


@attrs.frozen
class Declared:
    """A declaration, its kind, and the plugin that made it.

    `distribution` and `version` are those of the package that contains the plugin.
    """

    kind: str
    plugin: str
    declaration: PartDeclaration
    distribution: str = ""
    version: str = ""

    @property
    def name(self) -> str:
        """The bare name, without the plugin's."""
        return self.declaration.name

    @property
    def qualified(self) -> str:
        """`plugin/name`."""
        return f"{self.plugin}/{self.name}"

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} {self.qualified}{origin(self.distribution, self.version)}"


@attrs.frozen
class PluginFailure:
    """What went wrong with a plugin, or with one of its hooks or declarations.

    `error` is the exception behind it, or None if there was none.
    """

    plugin: str
    cause: str
    distribution: str = ""
    version: str = ""
    error: BaseException | None = attrs.field(default=None, eq=False, repr=False)

    def __str__(self) -> str:
        return f"{self.plugin}{origin(self.distribution, self.version)}: {self.cause}"


def origin(distribution: str, version: str) -> str:
    """` (distribution version)` for messages, "" if the package isn't known."""
    return f" ({' '.join(filter(None, (distribution, version)))})" if distribution else ""


def cause_of(error: BaseException) -> str:
    """Type and message of an exception, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@functools.cache
def installed_version() -> str:
    """The version of this library, or "" if it runs without being installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""
