"""reference/api.md: every name of `import harmony_parts`, the protocols, and the errors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import harmony_parts as hp
from generator.markdown import NOTE, table
from harmony_parts import errors
from harmony_parts.assembly.kinds import KINDS
from harmony_parts.testing import contracts

GROUPS = {
    "Data": ("av", "media"),
    "Assembling and generating": ("generate", "assembly"),
    "Codecs": ("codecs",),
    "Encoders": ("encoders",),
    "Branches": ("branches",),
    "Interaction and style": ("interaction", "style"),
    "Denoisers": ("denoisers",),
    "Flow": ("flow",),
    "Tasks": ("tasks",),
    "Anchors": ("anchors",),
    "Guidance": ("guidance",),
    "Data sets": ("data", "scenes"),
    "Metrics": ("metrics",),
    "Training": ("optimizers", "schedules", "trainable", "strategies", "callbacks"),
}
"""Heading -> the folders (or modules of the root) whose public names it lists."""

LOOPS = ("train.loop.train", "sample.sampler.sample", "metrics.compare.compare")
PLUGINS = ("plugin", "assembly.catalogue.Catalogue")
INTRODUCTION = (
    "`import harmony_parts as hp` is cheap: each name below is imported when it is first used. The"
    " settings of every part, with units and sources, are in [the list of parts](parts.md).\n"
)


def api_page() -> str:
    """The page."""
    lines = ["# Python\n", INTRODUCTION]
    for heading, folders in GROUPS.items():
        names = [name for name in hp._NAMES if folder_of(name) in folders]
        lines += [f"## {heading}\n", *table(["name", "what it is"], map(row, names))]
        lines += [directive(target_of(name)) for name in names]
    lines += ["## Loops\n", *(directive(loop) for loop in LOOPS)]
    lines += ["## Writing plugins\n", *(directive(target) for target in PLUGINS)]
    lines += ["## Protocols\n", *protocols()]
    lines += ["## Contract checks\n", *contract_checks()]
    lines += ["## Errors\n", *error_section()]
    return NOTE + "\n".join(lines) + "\n"


def target_of(name: str) -> str:
    """`module.attribute` of a public name, without the package."""
    module, _, attribute = hp._NAMES[name].partition(":")
    return f"{module}.{attribute or name}"


def folder_of(name: str) -> str:
    """The folder (or module of the root) of a public name."""
    return hp._NAMES[name].partition(".")[0]


def row(name: str) -> list[str]:
    """A public name with its signature, and the first sentence of its docstring."""
    value = getattr(hp, name)
    return [f"`{name}{short_signature(value)}`", summary(value)]


def short_signature(value: Any) -> str:
    """The parameters of a class or function without annotations: `(video=3.0, audio=...)`."""
    shown = []
    for p in inspect.signature(value).parameters.values():
        if p.kind is p.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        plain = isinstance(p.default, bool | int | float | str) or p.default is None
        default = "" if p.default is p.empty else f"={p.default!r}" if plain else "=..."
        shown.append(p.name + default)
    return f"({', '.join(shown)})"


def summary(value: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.getdoc(value).split("\n\n")[0].split())


def directive(target: str) -> str:
    """Where mkdocstrings renders the documentation of an object."""
    return f"::: harmony_parts.{target}\n"


def protocols() -> Iterator[str]:
    """The protocol module of each folder of kinds."""
    for folder in dict.fromkeys(kind.folder for kind in KINDS.values()):
        yield directive(f"{folder}.protocol")


def contract_checks() -> Iterator[str]:
    """The check of each kind."""
    yield inspect.getdoc(contracts) or ""
    yield ""
    for name in contracts.__all__:
        module = getattr(contracts, name).__module__.removeprefix("harmony_parts.")
        yield directive(f"{module}.{name}")


def error_section() -> Iterator[str]:
    """A table of all errors: when each is raised, and what its message holds."""
    rows = []
    for name, value in vars(errors).items():
        if inspect.isclass(value) and value.__module__ == errors.__name__:
            first, _, rest = (inspect.getdoc(value) or "").partition("\n\n")
            rows.append([f"`{name}`", " ".join(first.split()), " ".join(rest.split())])
    yield "All errors are in `harmony_parts.errors`, and all but the first derive from it:"
    yield ""
    yield from table(["error", "raised if", "message"], rows)
    yield from (directive(f"errors.{name.strip('`')}") for name, *_ in rows)
