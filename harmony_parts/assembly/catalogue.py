"""The parts that can be used: the built-in ones and those of installed plugins.

Every part has the name `plugin/name` (built-in parts: `harmony/name`). Its bare name works as long
as no other plugin declares the same one. A part is imported when it is loaded, not before.
A broken plugin never affects the others; its failure is recorded and named in any error that it
might explain.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Collection, Iterable
from typing import Any

from harmony_parts.assembly import signatures
from harmony_parts.assembly.declared import BUILT_IN, Declared, PluginFailure, cause_of, origin
from harmony_parts.assembly.discovery import Discovery, limit_of_environment
from harmony_parts.assembly.kinds import KINDS, Kind, kind_name
from harmony_parts.errors import (
    BrokenPart,
    HarmonyError,
    PartContractError,
    PartNameClash,
    UnknownPart,
    nearest,
)
from harmony_parts.plugin import PROJECT


class Catalogue:
    """The parts of some plugins.

    `Catalogue()` is empty, `Catalogue.discover()` finds everything that is installed, and
    `catalogue()` returns the one catalogue of the process.
    """

    def __init__(self) -> None:
        self._found = Discovery()
        self._loaded: dict[Declared, type] = {}

    @classmethod
    def discover(cls, only: Collection[str] | None = None, *, group: str = PROJECT) -> Catalogue:
        """The built-in parts and those of the installed plugins of the entry point group `group`.

        `only` restricts the plugins to these names. Without it, the environment variable
        HARMONY_PARTS_PLUGINS does: unset or empty for all, "none", or names separated by commas.
        """
        made = cls()
        made._found.add_built_in()
        made._found.add_installed(limit_of_environment() if only is None else only, group)
        return made

    def add(self, name: str, plugin: object, *, distribution: str = "", version: str = "") -> None:
        """Add a plugin by hand: a module, or any object with hooks. Its faults go to `failures`."""
        self._found.add(name, plugin, distribution, version)

    @property
    def failures(self) -> tuple[PluginFailure, ...]:
        """The faults of plugins, in the order in which they were found."""
        return tuple(self._found.failures)

    @property
    def slow(self) -> tuple[PluginFailure, ...]:
        """The plugins that take so long to import that they delay every command."""
        return tuple(self._found.slow)

    def list(self, kind: str | None = None) -> tuple[Declared, ...]:
        """All declarations, or those of one kind.

        They are sorted by kind, then by plugin with the built-in parts first, and keep the order in
        which the plugin declares them. Raises UnknownPart if there is no such kind.
        """
        key, order = kind_name(kind) if kind else None, list(KINDS)
        chosen = [declared for declared in self._found.declared if key in (None, declared.kind)]
        return tuple(
            sorted(chosen, key=lambda d: (order.index(d.kind), d.plugin != BUILT_IN, d.plugin))
        )

    def find(self, kind: str, name: str) -> Declared:
        """The declaration of `name` or `plugin/name`.

        Raises UnknownPart if there is none, PartNameClash if there are several.
        """
        declared = self.list(kind)
        fits = [d for d in declared if name in (d.qualified, d.name)]
        if len(fits) == 1:
            return fits[0]
        label = str(KINDS[kind_name(kind)])
        raise _ambiguous(label, name, fits) if fits else self._unknown(label, name, declared)

    def _unknown(self, label: str, name: str, declared: Collection[Declared]) -> UnknownPart:
        spellings = [d.name for d in declared] + [d.qualified for d in declared]
        names = ", ".join(d.qualified for d in declared) or "none"
        return UnknownPart(
            f"there is no {label} called {name!r}{nearest(name, spellings)}; available: {names}"
            f"{self.blame()}"
        )

    def load(self, kind: str, name: str) -> type:
        """The class of a part.

        Raises UnknownPart or PartNameClash as `find` does, BrokenPart if the class can't be
        imported, PartContractError if it lacks what the protocol of its kind requires.
        """
        return self.load_declared(self.find(kind, name))

    def load_declared(self, declared: Declared) -> type:
        """The class of a declaration. Raises BrokenPart and PartContractError as `load` does."""
        if declared not in self._loaded:
            target = declared.declaration.target
            cls = self._import(declared)
            if faults := list(signatures.faults(cls, _protocol(KINDS[declared.kind]))):
                raise PartContractError(f"{declared}, {target}: " + "; ".join(faults))
            self._loaded[declared] = cls
        return self._loaded[declared]

    def _import(self, declared: Declared) -> Any:
        """The object that a declaration's target names."""
        module, _, attribute = declared.declaration.target.partition(":")
        try:
            value: Any = importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise BrokenPart(
                f"{declared} can't be imported from {module}: {cause_of(error)}{self.blame()}"
            ) from error
        for name in attribute.split("."):
            if not hasattr(value, name):
                near = nearest(name, dir(value))
                raise BrokenPart(f"{declared}: {module} has no {attribute!r}{near}{self.blame()}")
            value = getattr(value, name)
        return value

    def qualified_name(self, part: Any, kind: str | None = None) -> str:
        """`plugin/name` of a part or of its class. Raises UnknownPart if no plugin declares it.

        `kind` chooses between the declarations of a class that is declared for several kinds.
        """
        return self.declared(part, kind).qualified

    def declared(self, part: Any, kind: str | None = None) -> Declared:
        """The declaration of a part or of its class. Raises UnknownPart if no plugin declares it.

        `kind` chooses between the declarations of a class that is declared for several kinds.
        """
        cls = part if isinstance(part, type) else type(part)
        target = f"{cls.__module__}:{cls.__qualname__}"
        candidates = self.list(kind)
        for declared in candidates:
            if declared.declaration.target == target or self._loaded.get(declared) is cls:
                return declared
        # A target may name the class through another module that re-exports it. Only modules of the
        # same package are loaded to find out.
        package = cls.__module__.partition(".")[0]
        for declared in candidates:
            if declared.declaration.target.partition(":")[0].partition(".")[0] == package:
                try:
                    if self.load_declared(declared) is cls:
                        return declared
                except HarmonyError:
                    continue
        label = f" as {KINDS[kind_name(kind)]}" if kind else ""
        raise UnknownPart(
            f"no plugin declares {target}{label}, so a recipe can't name it, as those of runs and"
            " saved models do: declare it by a hook, in a package (`harmony parts new`) or, in a"
            f" script, with catalogue().add(NAME, MODULE){self.blame()}"
        )

    def distributions(self, parts: Iterable[Declared]) -> dict[str, str]:
        """Plugin -> "distribution version" for the third-party plugins among the declarations."""
        return {
            d.plugin: f"{d.distribution} {d.version}".strip() for d in parts if d.plugin != BUILT_IN
        }

    def blame(self) -> str:
        """The failed plugins, to append to an error that they might explain; "" if none failed."""
        if not self.failures:
            return ""
        return "\nplugins that failed to load:" + "".join(
            f"\n  {failure}" for failure in self.failures
        )


def _ambiguous(label: str, name: str, fits: Iterable[Declared]) -> PartNameClash:
    spelled = sorted({d.qualified for d in fits})
    if len(spelled) > 1:
        return PartNameClash(
            f"{label} {name!r} is ambiguous: write {' or '.join(map(repr, spelled))}"
        )
    declarations = [f"{d.declaration.target}{origin(d.distribution, d.version)}" for d in fits]
    return PartNameClash(
        f"{label} {spelled[0]!r} is declared {len(declarations)} times, by"
        f" {' and '.join(dict.fromkeys(declarations))}; remove or rename one"
    )


def _protocol(kind: Kind) -> type:
    module, _, name = kind.protocol.partition(":")
    return getattr(importlib.import_module(module), name)


@functools.cache
def catalogue() -> Catalogue:
    """The built-in parts and all installed plugins, found once per process."""
    return Catalogue.discover()
