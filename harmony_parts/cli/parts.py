"""`harmony parts`: list, show, check and create parts."""

from __future__ import annotations

import inspect
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.declared import Declared
from harmony_parts.assembly.kinds import KINDS, kind_name
from harmony_parts.cli.command import Command, Group
from harmony_parts.cli.completion import kinds
from harmony_parts.cli.completion import parts as part_names
from harmony_parts.errors import BrokenPart, PartNameClash, UnknownPart, nearest
from harmony_parts.report.progress import console, print_stderr, styled
from harmony_parts.report.text import quantity

if TYPE_CHECKING:
    from rich.console import Console


@click.group(
    cls=Group,
    short_help="List, explain, check and create parts.",
    examples=[
        "harmony parts list                    all parts",
        "harmony parts list guidance           parts of one kind",
        "harmony parts show guidance/sync-cfg  one part and its settings",
        "harmony parts check                   find broken parts",
        "harmony parts new guidance mine       create a plugin with a guidance",
    ],
)
def parts() -> None:
    """List, explain, check and create parts: built-in ones and those of plugins."""


@parts.command(
    "list",
    cls=Command,
    short_help="List the parts, by kind.",
    examples=["harmony parts list", "harmony parts list video-codec", "harmony parts list --json"],
)
@click.argument("kind", required=False, shell_complete=kinds)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: an object with `parts` and `failures`."
)
def list_parts(kind: str | None, as_json: bool) -> None:
    """List the parts of every kind, or of KIND, and the plugins that failed to load.

    No part is imported. Recipes refer to a part with `use = "NAME"`; its qualified name is
    `plugin/name`.
    """
    available = catalogue()
    listed = available.list(kind)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "parts": [_record(d) for d in listed],
                    "failures": [_failure(f) for f in available.failures],
                },
                indent=2,
                ensure_ascii=False,
            )
        )
        return
    out = console()
    names = {d: d.name if _unique(d, listed) else d.qualified for d in listed}
    for key in dict.fromkeys(d.kind for d in listed):
        out.print(styled((str(KINDS[key]), "bold")))
        for declared in (d for d in listed if d.kind == key):
            origin = (
                f"  ({declared.distribution} {declared.version})"
                if declared.plugin != "harmony"
                else ""
            )
            _hang(out, f"  {names[declared]:<17} ", declared.declaration.summary + origin)
    out.print(styled(("\nharmony parts show KIND/NAME", "bold"), " explains one part."))
    for failure in available.failures:
        out.print(styled(("\nfailed: ", "bold red"), str(failure)), soft_wrap=True)
    for slow in available.slow:
        out.print(styled(("\nslow: ", "yellow"), str(slow)), soft_wrap=True)


@parts.command(
    cls=Command,
    short_help="Explain one part and its settings.",
    examples=[
        "harmony parts show guidance/sync-cfg",
        "harmony parts show interaction/gldi",
        "harmony parts show harmony/gldi           if only one kind has that name",
        "harmony parts show guidance/apg/window    the part `window` of the plugin `apg`",
    ],
)
@click.argument("name", metavar="KIND/NAME", shell_complete=part_names)
def show(name: str) -> None:
    """Explain one part: what it does, its source, its settings with default, unit and off value,
    and TOML to paste into a recipe."""
    available = catalogue()
    declared = find(available, name)
    cls = available.load_declared(declared)
    out = console()
    out.print(styled((f"{KINDS[declared.kind]} {declared.qualified}", "bold")))
    out.print(declared.declaration.summary)
    doc = inspect.cleandoc(cls.__doc__ or "")
    if doc and not doc.startswith(f"{cls.__name__}("):  # attrs' own
        out.print(styled("\n", textwrap.indent(doc, "  ")), soft_wrap=True)
    out.print()
    if declared.declaration.source:
        out.print(f"source   {declared.declaration.source}", soft_wrap=True)
    package = f"  ({declared.distribution} {declared.version})" if declared.distribution else ""
    out.print(f"python   {declared.declaration.target.replace(':', '.')}{package}", soft_wrap=True)
    _settings(out, cls, available)
    from harmony_parts.assembly.places import snippet

    out.print(styled(("\nIn a recipe", "bold"), ", with its defaults:\n"))
    out.print(textwrap.indent(snippet(declared, available).rstrip(), "  "), soft_wrap=True)


@parts.command(
    cls=Command,
    short_help="Import and check every part.",
    examples=[
        "harmony parts check",
        "harmony parts check harmony-apg        one plugin, by its name or its package's name",
    ],
)
@click.argument("plugin", required=False)
def check(plugin: str | None) -> None:
    """Import every part, or those of PLUGIN, and compare each with the protocol of its kind.

    Parts that can be built from default settings also run the contract check of their kind. Parts
    that need files, weights, the network or a missing GPU are listed as not checked. The exit code
    is 1 if a part or plugin is broken.
    """
    from harmony_parts.testing.check_parts import broken, chosen, contract

    available = catalogue()
    declared = chosen(available, plugin)
    faults = list(broken(available, plugin))
    checked = [contract(available, each) for each in declared]
    faults += [each.fault for each in checked if each.fault]
    for fault in faults:
        print_stderr(fault)
    for slow in available.slow:
        print_stderr(f"slow: {slow}")
    if faults:
        raise BrokenPart(f"{quantity(len(faults), 'fault')} in {plugin or 'the installed parts'}")
    hindered = [each for each in checked if each.hindrance]
    passed = len(checked) - len(hindered)
    click.echo(
        f"{quantity(len(declared), 'part')}: all can be used; {passed} meet the contract of their"
        " kind"
    )
    for each in hindered:
        part = f"{KINDS[each.declared.kind]}/{each.declared.qualified}"
        click.echo(f"  not checked: {part}: {each.hindrance}")


def find(available: Catalogue, name: str) -> Declared:
    """The declaration of "kind/name" or "kind/plugin/name"; the kind is optional if unambiguous.

    Raises UnknownPart if there is none, PartNameClash if several kinds have a part of that name.
    """
    kind, slash, rest = name.partition("/")
    if slash and kind.replace("-", "_") in KINDS:
        return available.find(kind, rest)
    fits = [d for d in available.list() if name in (d.name, d.qualified)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise PartNameClash(
            f"several kinds have a part {name!r}: write"
            f" {' or '.join(f'{KINDS[d.kind]}/{d.qualified}' for d in fits)}"
        )
    if slash and kind not in {d.plugin for d in available.list()}:
        kind_name(kind)  # raises, and names the kinds
    full = [f"{KINDS[d.kind]}/{d.name}" for d in available.list()]
    near = nearest(name, [*full, *(d.name for d in available.list())])
    raise UnknownPart(
        f"there is no part called {name!r}{near}; `harmony parts list` lists all parts"
        f"{available.blame()}"
    )


def _settings(out: Console, cls: type, available: Catalogue) -> None:
    """Print every setting of a part."""
    from harmony_parts.assembly.places import settings

    fields = settings(cls)
    out.print(styled(("\nSettings", "bold"), "" if fields else ": none"))
    for field in fields:
        _setting(out, field, available)


def _setting(out: Console, field: attrs.Attribute[Any], available: Catalogue) -> None:
    """Print a setting: default, unit, help, off value, the parts that it takes, source."""
    from harmony_parts.assembly.places import default, kinds_in, name
    from harmony_parts.report.setting_value import setting_value

    about, given, indent = field.metadata, default(field), "      "
    shown = "(required)" if given is attrs.NOTHING else f"= {setting_value(given, available)}"
    unit = f" {about['unit']}" if about.get("unit") else ""
    out.print(styled("  ", (name(field), "bold"), f" {shown}{unit}"), soft_wrap=True)
    _hang(out, indent, about.get("help", ""))
    # None means that there is no off value; the help says so if leaving it out switches it off
    if about.get("off") is not None:
        _hang(out, indent, f"off at {setting_value(about['off'], available)}")
    for kind in dict.fromkeys(kind for _, kind in kinds_in(field.type)):
        names = ", ".join(d.name for d in available.list(kind))
        _hang(out, indent, f"takes a part of the kind {KINDS[kind]}: {names}")
    if about.get("source"):
        _hang(out, indent, f"source: {about['source']}")


def _hang(out: Console, first: str, text: str) -> None:
    """Print a paragraph with a hanging indent."""
    if text:
        out.print(
            textwrap.fill(
                text,
                max(40, out.width),
                initial_indent=first,
                subsequent_indent=" " * len(first),
                break_on_hyphens=False,
            ),
            soft_wrap=True,
        )


def _unique(declared: Declared, among: tuple[Declared, ...]) -> bool:
    return sum(d.kind == declared.kind and d.name == declared.name for d in among) == 1


def _record(declared: Declared) -> dict[str, str]:
    about = declared.declaration
    return {
        "kind": str(KINDS[declared.kind]),
        "name": declared.name,
        "qualified": declared.qualified,
        "plugin": declared.plugin,
        "summary": about.summary,
        "source": about.source,
        "target": about.target,
        "distribution": declared.distribution,
        "version": declared.version,
    }


def _failure(failure: Any) -> dict[str, str]:
    return {name: getattr(failure, name) for name in ("plugin", "cause", "distribution", "version")}


@parts.command(
    "new",
    cls=Command,
    short_help="Create a plugin.",
    examples=[
        (
            "harmony parts new guidance mine                   ./harmony-mine, a package with the"
            " guidance `mine`"
        ),
        "harmony parts new attention fast --in plugins     plugins/harmony-fast",
    ],
)
@click.argument("kind", shell_complete=kinds)
@click.argument("name")
@click.option(
    "--in",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where to create it.  [default: the current folder]",
)
def new(kind: str, name: str, folder: Path) -> None:
    """Create a plugin: a package with one part NAME of KIND, and tests that pass.

    The part wraps a built-in one and behaves like it; change it from there.
    """
    from harmony_parts.testing.scaffold import write_plugin

    try:
        written = write_plugin(kind, name, folder)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"{written}: pip install -e {written}, then pytest {written}")
    label, spelled = KINDS[kind_name(kind)], f"{name}/{name}"
    for other in (
        d.qualified for d in catalogue().list(kind) if d.name == name and d.qualified != spelled
    ):
        print_stderr(
            f"{label} {name!r} already exists as {other!r}: once yours is installed, {name!r} is"
            f" ambiguous, also in recipes of others; write {spelled!r} for yours and {other!r} for"
            " the other, or choose another name"
        )
