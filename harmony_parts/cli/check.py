"""What `harmony parts check` does with a part beyond importing it: the contract checks of its kind, where it can be made without more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from harmony_parts.catalogue import Catalogue, Declared, nearest
from harmony_parts.errors import HarmonyError, UnknownPart


def plugins(known: Catalogue) -> dict[str, str]:
    """The plugins that declare or that failed, each with its package."""
    return {d.plugin: d.distribution for d in known.list()} | {f.plugin: f.distribution for f in known.failures}


def chosen(known: Catalogue, plugin: str | None) -> tuple[Declared, ...]:
    """All parts, or those of a plugin, by its name or its package's. Raises UnknownPart."""
    if plugin is None:
        return known.list()
    names = plugins(known)
    if plugin not in names and plugin not in names.values():
        near = nearest(plugin, [*names, *names.values()])
        raise UnknownPart(f"there is no plugin called {plugin!r}{near}; there are: {', '.join(names)}")
    return tuple(declared for declared in known.list() if plugin in (declared.plugin, declared.distribution))


def broken(known: Catalogue, plugin: str | None = None) -> Iterator[str]:
    """What is wrong with plugins and parts, one line or block for each fault: they aren't imported, or aren't what their kind asks for."""
    declared = chosen(known, plugin)
    for failure in known.failures:
        if plugin in (None, failure.plugin, failure.distribution):
            yield f"plugin {failure}"
    for each in declared:
        try:
            known.load_declared(each)
        except HarmonyError as error:
            yield str(error).removesuffix(known.blame())


def contract(known: Catalogue, declared: Declared) -> str | None:
    """What breaks the contract of its kind, "" where it is kept; `None` where it can't be tried.

    Tried are the parts that are their own spec, with their default settings. What is built may need weights, files or hours: its author's own
    tests call `harmony_parts.testing.contracts`.
    """
    check = _checks().get(declared.kind)
    try:
        cls = known.load_declared(declared)
    except HarmonyError:
        return None  # told by `broken`
    if check is None or any(field.default is attrs.NOTHING for field in attrs.fields(cls) if field.init):
        return None
    try:
        check(cls())
    except HarmonyError as error:
        return f"{declared}: {error}"
    except Exception as error:
        return f"{declared}: {type(error).__name__}: {error}"
    return ""


def _checks() -> dict[str, Callable[[Any], None]]:
    from harmony_parts.testing import contracts

    return {
        "path": contracts.check_path,
        "shift": contracts.check_shift,
        "density": contracts.check_density,
        "solver": contracts.check_solver,
        "task": contracts.check_task,
        "guidance": lambda guidance: contracts.check_guidance(guidance, hints=_hints(guidance)),
        "anchor": _anchor,
    }


def _hints(guidance: Any) -> tuple[str, ...]:
    """What it asks of a denoiser: whether a model knows that is found out when it is assembled."""
    from harmony_parts.guidance.protocol import StepTimes
    from harmony_parts.testing.contracts_guidance import TIMES

    return tuple({hint for times in TIMES.values() for asked in guidance.passes(StepTimes(*times), None) for hint in asked.hints})


def _anchor(anchor: Any) -> None:
    from harmony_parts.av import AV, Format
    from harmony_parts.codecs.dct import DCTVideo
    from harmony_parts.codecs.logmel import LogMel
    from harmony_parts.testing.contracts import check_anchor

    form = Format(fps=12, height=16, width=16, sample_rate=8000, seconds=0.5)
    codecs: Any = AV(DCTVideo().build(format=form), LogMel().build(format=form))
    check_anchor(anchor, codecs)
