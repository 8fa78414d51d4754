"""reference/parts.md: every kind of part, and every built-in part with its settings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import attrs

from generator.markdown import NOTE, table
from harmony_parts import hookspecs
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.declared import Declared
from harmony_parts.assembly.kinds import KINDS, Kind
from harmony_parts.assembly.places import default, kinds_in, name, settings
from harmony_parts.report.setting_value import setting_value


def parts_page(parts: Catalogue) -> str:
    """The page."""
    lines = [
        "# Parts\n",
        (
            f"There are {len(KINDS)} kinds of part and {len(parts.list())} built-in parts."
            " `harmony parts list` and `harmony parts show KIND/NAME` show the same on the"
            " command line, including the parts of installed plugins.\n"
        ),
        (
            "A setting without a default is required. *Off* is the value at which a setting, or the"
            " whole part, has no effect.\n"
        ),
        *table(
            ["kind", "hook", "parts"],
            (
                [f"[{kind}](#{kind})", f"`{kind.hook}`", names(parts, key)]
                for key, kind in KINDS.items()
            ),
        ),
    ]
    for key, kind in KINDS.items():
        lines += kind_section(key, kind, parts)
    return NOTE + "\n".join(lines) + "\n"


def names(parts: Catalogue, key: str) -> str:
    """The names of a kind's parts."""
    return ", ".join(f"`{declared.name}`" for declared in parts.list(key))


def kind_section(key: str, kind: Kind, parts: Catalogue) -> Iterator[str]:
    """A kind: the docstring of its hook, then its parts."""
    first, _, rest = inspect.cleandoc(
        inspect.getdoc(getattr(hookspecs, kind.hook)) or ""
    ).partition("\n")
    yield f"\n## {kind} {{ #{kind} }}\n"
    yield f"{first}\n"
    yield f"Hook `{kind.hook}`, protocol `{kind.protocol.replace(':', '.')}`.\n"
    yield f"{rest.strip()}\n"
    for declared in parts.list(key):
        yield from part_section(declared, parts)


def part_section(declared: Declared, parts: Catalogue) -> Iterator[str]:
    """A part: its summary, its docstring, its settings."""
    cls, about, kind = parts.load_declared(declared), declared.declaration, KINDS[declared.kind]
    yield f"\n### {kind}/{declared.name} {{ #{kind}-{declared.name} }}\n"
    source = f" Source: {about.source}." if about.source else ""
    yield f"{about.summary}{source} Python: `{about.target.replace(':', '.')}`\n"
    yield f"```text\n{inspect.cleandoc(cls.__doc__ or '')}\n```\n"
    rows = [setting(field, parts) for field in settings(cls)]
    head = ["setting", "default", "unit", "off", "what it does", "source"]
    yield from table(head, rows) if rows else ["No settings.\n"]


def setting(field: attrs.Attribute[Any], parts: Catalogue) -> list[str]:
    """The row of a setting."""
    about, given = field.metadata, default(field)
    kinds = dict.fromkeys(KINDS[kind] for _, kind in kinds_in(field.type))
    links = " or ".join(f"[{kind}](#{kind})" for kind in kinds)
    help_ = about.get("help", "").rstrip(".")
    return [
        f"`{name(field)}`",
        "" if given is attrs.NOTHING else f"`{setting_value(given, parts)}`",
        about.get("unit", ""),
        "" if about.get("off") is None else f"`{setting_value(about['off'], parts)}`",
        help_[:1].upper()
        + help_[1:]
        + "." * bool(help_)
        + (f" Takes a part: {links}." if kinds else ""),
        about.get("source", ""),
    ]
