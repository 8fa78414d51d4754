"""Find plugins and collect their declarations. No part is imported.

A broken plugin never affects the others: its failure is recorded and discovery goes on.

Hooks and protocols have a version, HOOKS. A plugin may state the version that it is written for:
`harmony_parts_hooks = 1` in the module that its entry point names. A plugin written for another
version is refused with a message that gives both versions.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import attrs
import pluggy

from harmony_parts import hookspecs
from harmony_parts.assembly.declared import (
    BUILT_IN,
    DISTRIBUTION,
    Declared,
    PluginFailure,
    cause_of,
    installed_version,
    origin,
)
from harmony_parts.assembly.import_marks import marked
from harmony_parts.assembly.kinds import KINDS
from harmony_parts.errors import nearest
from harmony_parts.plugin import PROJECT, PartDeclaration

LIMIT = "HARMONY_PARTS_PLUGINS"
HOOKS = 1
# Seconds. A plugin that takes longer than SLOW to declare its parts is reported afterwards; after
# STUCK a message is printed while the plugin is still being imported.
SLOW, STUCK = 1.0, 5.0
_HOOKS = {kind.hook: name for name, kind in KINDS.items()}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TARGET = re.compile(r"[\w.]+:[\w.]+")


def entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
    """The installed entry points of a group, sorted: the import path doesn't change the order."""
    return sorted(
        importlib.metadata.entry_points(group=group), key=lambda point: (point.name, point.value)
    )


def limit_of_environment() -> list[str] | None:
    """The plugin names in HARMONY_PARTS_PLUGINS: None for all, [] for "none"."""
    limit = os.environ.get(LIMIT, "").strip()
    if not limit:
        return None
    names = [name.strip() for name in limit.split(",")]
    return [] if limit == "none" else [name for name in names if name]


@attrs.define
class Discovery:
    """The declarations, failures and slow plugins found so far."""

    declared: list[Declared] = attrs.field(factory=list)
    failures: list[PluginFailure] = attrs.field(factory=list)
    slow: list[PluginFailure] = attrs.field(factory=list)

    def add_built_in(self) -> None:
        """The parts that come with the library, from the `hooks` module of each folder."""
        version = installed_version()
        for folder in dict.fromkeys(kind.folder for kind in KINDS.values()):
            try:
                plugin = importlib.import_module(f"harmony_parts.{folder}.hooks")
            except Exception as error:
                self._fail(BUILT_IN, DISTRIBUTION, version, cause_of(error), error)
                continue
            self.add(BUILT_IN, plugin, DISTRIBUTION, version)

    def add_installed(self, only: Collection[str] | None, group: str) -> None:
        """The plugins of the entry points of `group`; `only` restricts them to these names."""
        points = entry_points(group)
        for point in points:
            if only is None or point.name in only:
                self._add_entry_point(point)
        for name in sorted(set(only or ()) - {point.name for point in points}):
            cause = f"no installed package provides it; it is named in {LIMIT} or `only`"
            self._fail(name, "", "", cause)

    def add(self, name: str, plugin: object, distribution: str = "", version: str = "") -> None:
        """The declarations of one plugin: a module, or any object with hooks."""
        if cause := _unusable(name, plugin):
            self._fail(name, distribution, version, cause)
            return
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(plugin, name)
        except Exception as error:
            self._fail(name, distribution, version, cause_of(error), error)
            return
        for hook in sorted(vars(manager.hook)):
            caller = getattr(manager.hook, hook)
            if hook.startswith("_") or not caller.get_hookimpls():
                continue
            if hook in _HOOKS:
                self._call(caller, name, distribution, version)
            else:
                cause = f"has an unknown hook {hook!r}{nearest(hook, _HOOKS)}"
                self._fail(name, distribution, version, cause)
        for hook in _undecorated(plugin, manager):
            cause = f"{hook} lacks the decorator @hookimpl, so it is never called"
            self._fail(name, distribution, version, cause)

    def _call(self, caller: pluggy.HookCaller, name: str, distribution: str, version: str) -> None:
        """Call a hook: keep its well-formed declarations, record the others as failures."""
        hook = caller.name
        try:
            for result in caller():
                for declaration in [result] if isinstance(result, PartDeclaration) else result:
                    if wrong := _malformed(declaration):
                        self._fail(name, distribution, version, f"{hook} yields {wrong}")
                    else:
                        self.declared.append(
                            Declared(_HOOKS[hook], name, declaration, distribution, version)
                        )
        except (Exception, SystemExit) as error:
            self._fail(name, distribution, version, f"{hook} fails: {cause_of(error)}", error)

    def _add_entry_point(self, point: importlib.metadata.EntryPoint) -> None:
        distribution = point.dist.name if point.dist else ""
        version = point.dist.version if point.dist else ""
        if point.name == BUILT_IN:
            cause = f"the name {BUILT_IN!r} is reserved for the built-in parts; rename it"
            self._fail(point.name, distribution, version, cause)
            return
        began = time.monotonic()
        try:
            with (
                _announced_if_stuck(f"{point.name}{origin(distribution, version)}"),
                marked(point.name, f"update or remove it, or skip all plugins with {LIMIT}=none"),
            ):
                self.add(point.name, point.load(), distribution, version)
        except (Exception, SystemExit) as error:
            cause = f"can't be imported: {cause_of(error)}"
            self._fail(point.name, distribution, version, cause, error)
        took = time.monotonic() - began
        if took > SLOW:
            cause = (
                f"takes {took:.1f} s to declare its parts, which delays every command; move heavy"
                " imports into the modules of its parts"
            )
            self.slow.append(PluginFailure(point.name, cause, distribution, version))

    def _fail(
        self,
        plugin: str,
        distribution: str,
        version: str,
        cause: str,
        error: BaseException | None = None,
    ) -> None:
        self.failures.append(PluginFailure(plugin, cause, distribution, version, error))


@contextmanager
def _announced_if_stuck(plugin: str) -> Iterator[None]:
    """Print the name of the plugin if this takes longer than STUCK seconds."""
    text = f"waiting for the plugin {plugin} to be imported; {LIMIT}=none skips all plugins"
    timer = threading.Timer(STUCK, lambda: print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _unusable(name: str, plugin: object) -> str:
    """Why a plugin can't be used at all: its name, or its version of the hooks."""
    if not _NAME.fullmatch(name):
        return (
            f"{name!r} can't be a plugin's name: use only lower-case letters, digits, '-', '_' and"
            " '.'"
        )
    version = getattr(plugin, "harmony_parts_hooks", HOOKS)
    if version == HOOKS:
        return ""
    newer = isinstance(version, int) and version > HOOKS
    remedy = f"update {DISTRIBUTION}" if newer else "update the plugin"
    ours = f"{DISTRIBUTION} {installed_version()}".strip()
    return (
        f"it is written for version {version!r} of the hooks, {ours} has version {HOOKS}; {remedy}"
    )


def _undecorated(plugin: object, manager: pluggy.PluginManager) -> Iterator[str]:
    """The functions of a plugin that are named like a hook but aren't marked as one."""
    for name in dir(plugin):
        if (
            name in _HOOKS
            and not getattr(manager.hook, name).get_hookimpls()
            and callable(getattr(plugin, name, None))
        ):
            yield name


def _malformed(declaration: object) -> str:
    """What is wrong with a value that a hook yielded, "" if nothing is."""
    if not isinstance(declaration, PartDeclaration):
        return f"{declaration!r}, which is not a declaration; yield part(...)"
    name = declaration.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"the name {name!r}: use only lower-case letters, digits, '-', '_' and '.'"
    if not isinstance(declaration.target, str) or not _TARGET.fullmatch(declaration.target):
        return f'the target {declaration.target!r} for {name!r}; write "package.module:Class"'
    if not isinstance(declaration.summary, str) or not declaration.summary.strip():
        return f"no summary for {name!r}; describe it in one sentence"
    if not isinstance(declaration.source, str):
        return f"the source {declaration.source!r} for {name!r}, which is not a string"
    return ""
