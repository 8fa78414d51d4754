"""Which parts there are: the built-in ones and those of installed plugins. Nothing of a part is
imported until it is loaded.

A part is always addressable as `plugin/name` (built-in ones as `harmony/name`), and by its bare
name while no other plugin uses that name. A plugin that fails costs nobody else anything: the
failure is remembered, and named in every error that it may have caused.

Hooks and protocols have a version, HOOKS. A plugin may say which one it is written for,
`harmony_parts_hooks = 1` in the module that its entry point names; of another version it is refused
by name, and not by what goes wrong later.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import os
import re
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import attrs
import pluggy

from harmony_parts import hookspecs
from harmony_parts.assembly import signatures
from harmony_parts.errors import (
    BrokenPart,
    HarmonyError,
    PartContractError,
    PartNameClash,
    UnknownPart,
)
from harmony_parts.hookspecs import KINDS, Kind
from harmony_parts.plugin import PROJECT, PartDeclaration

BUILT_IN = "harmony"
DISTRIBUTION = "harmony-parts"
LIMIT = "HARMONY_PARTS_PLUGINS"
HOOKS = 1
# seconds: a plugin that takes longer to declare its parts is named afterwards; while it still does
# so
SLOW, STUCK = 1.0, 5.0
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TARGET = re.compile(r"[\w.]+:[\w.]+")


@attrs.frozen
class Declared:
    """A declaration and who made it. `distribution` and `version` are those of the package that the
    plugin came in.
    """

    kind: str
    plugin: str
    declaration: PartDeclaration
    distribution: str = ""
    version: str = ""

    @property
    def name(self) -> str:
        """The bare name."""
        return self.declaration.name

    @property
    def qualified(self) -> str:
        """`plugin/name`."""
        return f"{self.plugin}/{self.name}"

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} {self.qualified}{_origin(self.distribution, self.version)}"


@attrs.frozen
class PluginFailure:
    """What went wrong with a plugin, or with one of its hooks or declarations. `error` is the
    exception itself, where there was one.
    """

    plugin: str
    cause: str
    distribution: str = ""
    version: str = ""
    error: BaseException | None = attrs.field(default=None, eq=False, repr=False)

    def __str__(self) -> str:
        return f"{self.plugin}{_origin(self.distribution, self.version)}: {self.cause}"


def _origin(distribution: str, version: str) -> str:
    return f" ({' '.join(filter(None, (distribution, version)))})" if distribution else ""


def kind_name(kind: str) -> str:
    """The name of a kind as `KINDS` has it, from either spelling ("video-codec", "video_codec").
    Raises UnknownPart.
    """
    name = kind.replace("-", "_")
    if name not in KINDS:
        raise UnknownPart(
            f"there is no kind of part called {kind!r}{nearest(name, KINDS)}; kinds:"
            f" {', '.join(map(str, KINDS.values()))}"
        )
    return name


def nearest(wrong: str, right: Iterable[str]) -> str:
    """` (did you mean 'x'?)` where something is near enough, else ""."""
    close = difflib.get_close_matches(wrong, list(right), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Catalogue:
    """The parts of some plugins. `Catalogue()` is empty, `Catalogue.discover()` finds what is
    installed, `catalogue()` does it once.
    """

    def __init__(self) -> None:
        self._declared: list[Declared] = []
        self._failures: list[PluginFailure] = []
        self._slow: list[PluginFailure] = []
        self._loaded: dict[Declared, type] = {}

    @classmethod
    def discover(cls, only: Collection[str] | None = None, *, group: str = PROJECT) -> Catalogue:
        """The built-in parts, and those of the installed plugins of the entry point `group`, or of
        those named in `only`.

        Without `only`, the environment variable HARMONY_PARTS_PLUGINS decides: unset or empty for
        all, "none", or names with commas.
        """
        found = cls()
        for folder in dict.fromkeys(kind.folder for kind in KINDS.values()):
            found._add_built_in(folder)
        if only is None and (limit := os.environ.get(LIMIT, "").strip()):
            only = (
                []
                if limit == "none"
                else [name.strip() for name in limit.split(",") if name.strip()]
            )
        # Sorted, so that a listing doesn't depend on the order of the import path.
        points = sorted(
            importlib.metadata.entry_points(group=group),
            key=lambda point: (point.name, point.value),
        )
        for point in points:
            if only is None or point.name in only:
                found._add_entry_point(point)
        for name in sorted(set(only or ()) - {point.name for point in points}):
            found._failures.append(
                PluginFailure(
                    name, f"no installed package has this plugin (asked for by {LIMIT} or `only`)"
                )
            )
        return found

    @property
    def failures(self) -> tuple[PluginFailure, ...]:
        """What went wrong in discovery, in the order in which it happened."""
        return tuple(self._failures)

    @property
    def slow(self) -> tuple[PluginFailure, ...]:
        """The plugins that every command waits for."""
        return tuple(self._slow)

    def list(self, kind: str | None = None) -> tuple[Declared, ...]:
        """All declarations, or those of one kind: by kind, then plugin (the built-in one first),
        each plugin in its own order.
        """
        wanted = kind_name(kind) if kind else None
        order = list(KINDS)
        chosen = [declared for declared in self._declared if wanted in (None, declared.kind)]
        return tuple(
            sorted(chosen, key=lambda d: (order.index(d.kind), d.plugin != BUILT_IN, d.plugin))
        )

    def find(self, kind: str, name: str) -> Declared:
        """The declaration of `name` or `plugin/name`. Raises UnknownPart, or PartNameClash where
        several fit.
        """
        kind = kind_name(kind)
        declared = self.list(kind)
        fits = [d for d in declared if name in (d.qualified, d.name)]
        if len(fits) == 1:
            return fits[0]
        label = str(KINDS[kind])
        if not fits:
            spellings = [d.name for d in declared] + [d.qualified for d in declared]
            known = (
                f"; there are: {', '.join(d.qualified for d in declared)}"
                if declared
                else "; there is none at all"
            )
            raise UnknownPart(
                f"there is no {label} called"
                f" {name!r}{nearest(name, spellings)}{known}{self.blame()}"
            )
        spelled = sorted({d.qualified for d in fits})
        if len(spelled) > 1:
            raise PartNameClash(
                f"{label} {name!r} is ambiguous: write {' or '.join(map(repr, spelled))}"
            )
        whose = " and ".join(
            dict.fromkeys(
                f"{d.declaration.target}{_origin(d.distribution, d.version)}" for d in fits
            )
        )
        raise PartNameClash(
            f"{label} {spelled[0]!r} is declared {len(fits)} times, by {whose}; remove or"
            " rename one"
        )

    def load(self, kind: str, name: str) -> type:
        """The class of a part. Raises BrokenPart where it can't be imported, PartContractError
        where it isn't what its kind asks for.
        """
        return self.load_declared(self.find(kind, name))

    def load_declared(self, declared: Declared) -> type:
        """As `load`, for a declaration at hand."""
        if declared not in self._loaded:
            module, _, attribute = declared.declaration.target.partition(":")
            found = self._import(declared, module, attribute)
            protocol = _protocol(KINDS[declared.kind])
            faults = list(signatures.faults(found, protocol))
            if faults:
                raise PartContractError(
                    f"{declared}, {declared.declaration.target}: " + "; ".join(faults)
                )
            self._loaded[declared] = found
        return self._loaded[declared]

    def qualified_name(self, part: Any, kind: str | None = None) -> str:
        """`plugin/name` of a part, or of its class; `kind` chooses where a class is declared for
        several. Raises UnknownPart.
        """
        return self.declared(part, kind).qualified

    def declared(self, part: Any, kind: str | None = None) -> Declared:
        """The declaration of a part, or of its class. Raises UnknownPart where no plugin declares
        it.
        """
        cls = part if isinstance(part, type) else type(part)
        target = f"{cls.__module__}:{cls.__qualname__}"
        among = self.list(kind)
        for declared in among:
            if declared.declaration.target == target or self._loaded.get(declared) is cls:
                return declared
        # A target may name the class by another module that imports it: look into those of the same
        # package.
        package = cls.__module__.partition(".")[0]
        for declared in among:
            if declared.declaration.target.partition(":")[0].partition(".")[0] == package:
                try:
                    if self.load_declared(declared) is cls:
                        return declared
                except HarmonyError:
                    continue
        label = f" as {KINDS[kind_name(kind)]}" if kind else ""
        raise UnknownPart(
            f"no plugin declares {target}{label}, so that no recipe can name it{self.blame()}"
        )

    def distributions(self, parts: Iterable[Declared]) -> dict[str, str]:
        """Plugin -> "distribution version", of the third-party plugins among these declarations."""
        return {
            d.plugin: f"{d.distribution} {d.version}".strip() for d in parts if d.plugin != BUILT_IN
        }

    def blame(self) -> str:
        """What to add to an error that a plugin's failure may have caused: "" where none failed."""
        if not self._failures:
            return ""
        return "\nplugins that failed to load:" + "".join(
            f"\n  {failure}" for failure in self._failures
        )

    def add(self, name: str, plugin: object, *, distribution: str = "", version: str = "") -> None:
        """Add a plugin by hand: a module, or any object with hooks. What is wrong with it goes to
        `failures`.
        """
        failed = functools.partial(self._fail, name, distribution, version)
        if not _NAME.fullmatch(name):
            failed(
                f"{name!r} can't be a plugin's name: lower-case letters, digits, '-', '_' and '.'"
                " only"
            )
            return
        version_of_hooks = getattr(plugin, "harmony_parts_hooks", HOOKS)
        if version_of_hooks != HOOKS:
            newer = isinstance(version_of_hooks, int) and version_of_hooks > HOOKS
            remedy = f"update {DISTRIBUTION}" if newer else "update the plugin"
            here = f"{DISTRIBUTION} {installed_version()}".strip()
            failed(
                f"it is written for version {version_of_hooks!r} of the hooks, and {here} has"
                f" version {HOOKS}; {remedy}"
            )
            return
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(plugin, name)
        except Exception as error:
            failed(_cause(error), error)
            return
        hooks = {kind.hook: kind_key for kind_key, kind in KINDS.items()}
        for hook in sorted(vars(manager.hook)):
            caller = getattr(manager.hook, hook)
            if hook.startswith("_") or not caller.get_hookimpls():
                continue
            if hook not in hooks:
                failed(f"has an unknown hook {hook!r}{nearest(hook, hooks)}")
                continue
            self._declared += self._declarations(hooks[hook], caller, name, distribution, version)
        for attribute in dir(plugin):
            if (
                attribute in hooks
                and not getattr(manager.hook, attribute).get_hookimpls()
                and callable(getattr(plugin, attribute, None))
            ):
                failed(f"{attribute} lacks the decorator @hookimpl, so it is never called")

    def _declarations(
        self, kind: str, caller: pluggy.HookCaller, plugin: str, distribution: str, version: str
    ) -> Iterator[Declared]:
        """What a hook yields that is well formed; the rest is remembered as failures."""
        failed = functools.partial(self._fail, plugin, distribution, version)
        hook = KINDS[kind].hook
        try:
            for result in caller():
                for declaration in [result] if isinstance(result, PartDeclaration) else result:
                    wrong = _malformed(declaration)
                    if wrong:
                        failed(f"{hook} yields {wrong}")
                    else:
                        yield Declared(kind, plugin, declaration, distribution, version)
        except (Exception, SystemExit) as error:
            failed(f"{hook} fails: {_cause(error)}", error)

    def _add_built_in(self, folder: str) -> None:
        """The parts of one folder of this package."""
        module = f"harmony_parts.{folder}.hooks"
        try:
            plugin = importlib.import_module(module)
        except Exception as error:
            self._fail(BUILT_IN, DISTRIBUTION, installed_version(), _cause(error), error)
            return
        self.add(BUILT_IN, plugin, distribution=DISTRIBUTION, version=installed_version())

    def _add_entry_point(self, point: importlib.metadata.EntryPoint) -> None:
        distribution = point.dist.name if point.dist else ""
        version = point.dist.version if point.dist else ""
        if point.name == BUILT_IN:
            cause = (
                f"the name {BUILT_IN!r} is that of the built-in parts; call the entry point"
                " otherwise"
            )
            self._fail(point.name, distribution, version, cause)
            return
        began, whose = time.monotonic(), f"{point.name}{_origin(distribution, version)}"
        waiting = threading.Timer(
            STUCK,
            _say,
            [f"waiting for the plugin {whose} to be imported; {LIMIT}=none leaves plugins out"],
        )
        waiting.daemon = True
        waiting.start()
        try:
            plugin = point.load()
            self.add(point.name, plugin, distribution=distribution, version=version)
        except (Exception, SystemExit) as error:
            self._fail(
                point.name, distribution, version, f"can't be imported: {_cause(error)}", error
            )
        finally:
            waiting.cancel()
        took = time.monotonic() - began
        if took > SLOW:
            cause = (
                f"takes {took:.1f} s to declare its parts, in every command; what it needs should"
                " be imported by the parts alone"
            )
            self._slow.append(PluginFailure(point.name, cause, distribution, version))

    def _fail(
        self,
        plugin: str,
        distribution: str,
        version: str,
        cause: str,
        error: BaseException | None = None,
    ) -> None:
        self._failures.append(PluginFailure(plugin, cause, distribution, version, error))

    def _import(self, declared: Declared, module: str, attribute: str) -> Any:
        try:
            found: Any = importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise BrokenPart(
                f"{declared} can't be imported from {module}: {_cause(error)}{self.blame()}"
            ) from error
        for name in attribute.split("."):
            if not hasattr(found, name):
                raise BrokenPart(
                    f"{declared}: {module} has no"
                    f" {attribute!r}{nearest(name, dir(found))}{self.blame()}"
                )
            found = getattr(found, name)
        return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _malformed(declaration: object) -> str:
    """What is wrong with what a hook yielded: "" where nothing is."""
    if not isinstance(declaration, PartDeclaration):
        return f"{declaration!r}, which is no declaration; yield part(...)"
    if not isinstance(declaration.name, str) or not _NAME.fullmatch(declaration.name):
        return f"the name {declaration.name!r}: lower-case letters, digits, '-', '_' and '.' only"
    if not isinstance(declaration.target, str) or not _TARGET.fullmatch(declaration.target):
        return (
            f"the target {declaration.target!r} for {declaration.name!r}; write"
            ' "package.module:Class"'
        )
    if not isinstance(declaration.summary, str) or not declaration.summary.strip():
        return f"no summary for {declaration.name!r}; say in one sentence what it is"
    if not isinstance(declaration.source, str):
        return f"the source {declaration.source!r} for {declaration.name!r}, which is no text"
    return ""


def _cause(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _protocol(kind: Kind) -> type:
    module, _, name = kind.protocol.partition(":")
    return getattr(importlib.import_module(module), name)


@functools.cache
def installed_version() -> str:
    """The version of this library, "" where it runs without being installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def catalogue() -> Catalogue:
    """What is installed, looked up once for this process."""
    return Catalogue.discover()
