"""Where in a recipe a part goes, and what to paste there."""

from __future__ import annotations

import typing
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import tomli_w

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.declared import Declared
from harmony_parts.assembly.kinds import kind_of
from harmony_parts.assembly.tables import unstructure
from harmony_parts.errors import HarmonyError

NAME = "NAME"  # stands for a name that the user chooses


@attrs.frozen
class Place:
    """A setting that takes a part: `path` from the root of the recipe, with "[]" for a place in a
    list, and its default.
    """

    path: tuple[str, ...]
    kind: str
    default: Any = None


def kinds_in(annotation: Any, steps: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(steps to it, kind) for each kind of part that a type holds; the steps are "[]" into a list
    and NAME into a table.
    """
    if kind := kind_of(annotation):
        yield steps, kind
        return
    step = {tuple: "[]", list: "[]", dict: NAME, Mapping: NAME}.get(
        typing.get_origin(annotation) or annotation
    )
    for inner in typing.get_args(annotation):
        yield from kinds_in(inner, (*steps, step) if step else steps)


def settings(cls: type) -> list[attrs.Attribute[Any]]:
    """The settings of a class, their annotations resolved."""
    return [field for field in attrs.fields(attrs.resolve_types(cls)) if field.init]


def places(parts: Catalogue) -> Iterator[Place]:
    """Every setting that takes a part, nearest to the recipe's root first: those of the recipe,
    then those of the parts that fit there.
    """
    from harmony_parts.assembly.recipe import Recipe

    queue: deque[tuple[tuple[str, ...], type]] = deque([((), Recipe)])
    seen: set[type] = set()
    while queue:
        path, cls = queue.popleft()
        if cls in seen:
            continue
        seen.add(cls)
        for field in settings(cls):
            here = (*path, name(field))
            for steps, kind in kinds_in(field.type):
                yield Place((*here, *steps), kind, default(field))
                queue.extend(((*here, *steps), found) for found in _loadable(parts, kind))
            if (
                isinstance(field.type, type)
                and attrs.has(field.type)
                and kind_of(field.type) is None
            ):
                queue.append((here, field.type))


def default(field: attrs.Attribute[Any]) -> Any:
    """The default of a setting; `attrs.NOTHING` where it must be given."""
    given: Any = field.default
    if isinstance(given, attrs.Factory):  # type: ignore[arg-type]
        return attrs.NOTHING if given.takes_self else given.factory()
    return given


def name(field: attrs.Attribute[Any]) -> str:
    """What a setting is called in a recipe."""
    return field.alias or field.name


def _loadable(parts: Catalogue, kind: str) -> Iterator[type]:
    for declared in parts.list(kind):
        try:
            yield parts.load_declared(declared)
        except HarmonyError:
            continue  # it is told of when somebody uses it


def snippet(declared: Declared, parts: Catalogue) -> str:
    """TOML of the part with its defaults, at a place of a recipe where it fits."""
    cls = parts.load_declared(declared)
    fits = [place for place in places(parts) if place.kind == declared.kind]
    # Of several (SyncCFG has two anchors), the one that has this part by default.
    place = fits[0] if fits else Place((declared.kind,), declared.kind)
    if place.default is not attrs.NOTHING:
        place = next((p for p in fits if type(p.default) is cls), place)
    missing = [name(field) for field in settings(cls) if default(field) is attrs.NOTHING]
    table: Any = {"use": declared.qualified}
    if not missing:
        table = {**unstructure(cls(), parts=parts, kind=declared.kind), **table}
        table = {"use": table.pop("use"), **table}
    for step in reversed(place.path):
        table = [table] if step == "[]" else {step: table}
    return str(tomli_w.dumps(table)) + "".join(
        f"# {setting} = ...  (must be given)\n" for setting in missing
    )
