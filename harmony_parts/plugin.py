"""All that a plugin author imports. A plugin is a module (or any object) with hooks that yield
declarations:

    from harmony_parts.plugin import hookimpl, part

    @hookimpl
    def harmony_guidance():
        yield part("half", "harmony_half:Half", summary="Goes half the way that its inner guidance
        goes.")

and a line in its pyproject: `[project.entry-points.harmony_parts]`, `half = "harmony_half"`. The
hooks are listed in `harmony_parts.hookspecs`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import attrs
import pluggy

PROJECT = "harmony_parts"
hookimpl = pluggy.HookimplMarker(PROJECT)


@attrs.frozen
class PartDeclaration:
    """A part's name, where its class is ("package.module:Class"), one sentence about it, and the
    source of the method.
    """

    name: str
    target: str
    summary: str
    source: str = ""


def part(name: str, target: str, *, summary: str, source: str = "") -> PartDeclaration:
    """Declare a part. Nothing is imported until somebody uses it."""
    return PartDeclaration(name, target, summary, source)


def knob(
    default: Any = attrs.NOTHING,
    *,
    help: str,
    unit: str = "",
    off: Any = None,
    source: str = "",
    validator: Any = None,
    converter: Any = None,
) -> Any:
    """A setting of a part, which documents itself: what it does, its unit, the value that switches
    it off, and where the default comes from.
    """
    metadata = {"help": help, "unit": unit, "off": off, "source": source}
    return attrs.field(default=default, validator=validator, converter=converter, metadata=metadata)


def default_part(target: str, **settings: Any) -> Any:
    """A default for a field that holds a part of another kind:
    `knob(default_part("package.module:Class"), help=...)`.

    The class is imported when the default is first needed, so no kind of part imports another.
    `settings` are passed to it.
    """

    def make() -> Any:
        module, _, name = target.partition(":")
        return getattr(import_module(module), name)(**settings)

    return attrs.Factory(make)
