"""The settings of a recipe that take a part, and TOML snippets for them."""

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
from harmony_parts.assembly.table_types import is_union
from harmony_parts.assembly.tables import unstructure
from harmony_parts.errors import HarmonyError

NAME = "NAME"  # stands for a key that the user chooses


@attrs.frozen
class Place:
    """A setting that takes a part, and its default.

    `path` leads from the root of the recipe to it; "[]" stands for an element of a list, NAME for a
    key that the user chooses.
    """

    path: tuple[str, ...]
    kind: str
    default: Any = None


def kinds_in(annotation: Any, steps: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(steps, kind) for every kind of part in a type; a step is "[]" in a list, NAME in a table."""
    if kind := kind_of(annotation):
        yield steps, kind
        return
    step = {tuple: "[]", list: "[]", dict: NAME, Mapping: NAME}.get(
        typing.get_origin(annotation) or annotation
    )
    for inner in typing.get_args(annotation):
        yield from kinds_in(inner, (*steps, step) if step else steps)


def settings(cls: type) -> list[attrs.Attribute[Any]]:
    """The settings of a class, with resolved annotations."""
    return [field for field in attrs.fields(attrs.resolve_types(cls)) if field.init]


def places(parts: Catalogue) -> Iterator[Place]:
    """Every setting that takes a part, those nearest to the root of the recipe first.

    They include the settings of all parts that fit. Parts that can't be loaded are skipped.
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
            queue.extend((here, inner) for inner in _classes(field.type))


def _classes(annotation: Any) -> list[type]:
    """The classes of settings that a setting takes, by itself or as an option of a union."""
    options = typing.get_args(annotation) if is_union(annotation) else (annotation,)
    return [t for t in options if isinstance(t, type) and attrs.has(t) and kind_of(t) is None]


def default(field: attrs.Attribute[Any]) -> Any:
    """The default of a setting, `attrs.NOTHING` if it is required."""
    given: Any = field.default
    if isinstance(given, attrs.Factory):  # type: ignore[arg-type]
        return attrs.NOTHING if given.takes_self else given.factory()
    return given


def name(field: attrs.Attribute[Any]) -> str:
    """The name of a setting in a recipe."""
    return field.alias or field.name


def _stream(part: Any) -> str | None:
    """The stream that an anchor is for; `None` for other parts."""
    stream: str | None = getattr(part, "stream", None)
    return stream


def _loadable(parts: Catalogue, kind: str) -> Iterator[type]:
    for declared in parts.list(kind):
        try:
            yield parts.load_declared(declared)
        except HarmonyError:
            continue  # the error is reported when the part is used


def snippet(declared: Declared, parts: Catalogue) -> str:
    """TOML of a part with its defaults, under the path of a setting that it fits.

    Required settings are listed in a comment. Raises BrokenPart or PartContractError if the part
    can't be loaded.
    """
    cls = parts.load_declared(declared)
    missing = [name(field) for field in settings(cls) if default(field) is attrs.NOTHING]
    fits = [place for place in places(parts) if place.kind == declared.kind]
    # A place inside the part of a list takes more than the snippet: the list's part itself.
    fits = [place for place in fits if "[]" not in place.path[:-1]] or fits
    # If several settings fit (SyncCFG has two anchors), take the one whose default is this part,
    # or else a part for the same stream.
    place = fits[0] if fits else Place((declared.kind,), declared.kind)
    if place.default is not attrs.NOTHING:
        alike = [p for p in fits if not missing and _stream(p.default) == _stream(cls())]
        place = next((p for p in fits if type(p.default) is cls), (alike or [place])[0])
    table: Any = {"use": declared.qualified}
    if not missing:
        table = {**unstructure(cls(), parts=parts, kind=declared.kind), **table}
        table = {"use": table.pop("use"), **table}
    for step in reversed(place.path):
        table = [table] if step == "[]" else {step: table}
    return str(tomli_w.dumps(table)) + "".join(
        f"# {setting} = ...  (required)\n" for setting in missing
    )
