"""`harmony parts`: what a model can be made of."""

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
from harmony_parts.report.progress import complain, console, styled
from harmony_parts.report.text import quantity, value

if TYPE_CHECKING:
    from rich.console import Console


@click.group(
    cls=Group,
    short_help="List and explain the parts.",
    examples=[
        "harmony parts list                    all parts",
        "harmony parts list guidance           those of one kind",
        "harmony parts show guidance/sync-cfg  what one does, and its settings",
        "harmony parts check                   whether all of them can be used",
        "harmony parts new guidance mine       begin a plugin with a part of that kind",
    ],
)
def parts() -> None:
    """List and explain the parts: those that come with the library, and those of installed
    plugins.
    """


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
    """List the parts of every kind, or of KIND, and the plugins that failed to load, with the
    cause.

    No part is imported. A part is named in a recipe, under `use`, by the name that is printed; its
    full name is `plugin/name`.
    """
    known = catalogue()
    found = known.list(kind)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "parts": [_record(d) for d in found],
                    "failures": [_failure(f) for f in known.failures],
                },
                indent=2,
                ensure_ascii=False,
            )
        )
        return
    out = console()
    names = {d: d.name if _unique(d, found) else d.qualified for d in found}
    for key in dict.fromkeys(d.kind for d in found):
        out.print(styled((str(KINDS[key]), "bold")))
        for declared in (d for d in found if d.kind == key):
            origin = (
                f"  ({declared.distribution} {declared.version})"
                if declared.plugin != "harmony"
                else ""
            )
            _hang(out, f"  {names[declared]:<17} ", declared.declaration.summary + origin)
    out.print(styled(("\nharmony parts show KIND/NAME", "bold"), " explains one."))
    for failure in known.failures:
        out.print(styled(("\nfailed: ", "bold red"), str(failure)), soft_wrap=True)
    for slow in known.slow:
        out.print(styled(("\nslow: ", "yellow"), str(slow)), soft_wrap=True)


@parts.command(
    cls=Command,
    short_help="Explain one part and its settings.",
    examples=[
        "harmony parts show guidance/sync-cfg",
        "harmony parts show interaction/gldi",
        "harmony parts show harmony/gldi           where only one kind has that name",
        "harmony parts show guidance/apg/window    the part `window` of the plugin `apg`",
    ],
)
@click.argument("name", metavar="KIND/NAME", shell_complete=part_names)
def show(name: str) -> None:
    """Explain one part: what it does, where the method comes from, every setting with its default,
    unit and off value, and the TOML to paste into a recipe."""
    known = catalogue()
    declared = find(known, name)
    cls = known.load_declared(declared)
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
    _settings(out, cls, known)
    from harmony_parts.assembly.places import snippet

    out.print(styled(("\nIn a recipe", "bold"), ", with its defaults:\n"))
    out.print(textwrap.indent(snippet(declared, known).rstrip(), "  "), soft_wrap=True)


@parts.command(
    cls=Command,
    short_help="Import and try every part, and tell what is broken.",
    examples=[
        "harmony parts check",
        "harmony parts check harmony-apg        one plugin, by its name or its package's",
    ],
)
@click.argument("plugin", required=False)
def check(plugin: str | None) -> None:
    """Import every part, or those of PLUGIN, compare each with the protocol of its kind, and hold
    those that need nothing but their default settings to the contract of their kind: no weights, no
    files, no GPU that isn't there, and nothing from the network. Names those that can't be tried
    so. Ends with an error (1) where a part or a plugin is broken."""
    from harmony_parts.testing.check_parts import broken, chosen, contract

    known = catalogue()
    declared = chosen(known, plugin)
    faults = list(broken(known, plugin))
    tried = [contract(known, each) for each in declared]
    faults += [each.fault for each in tried if each.fault]
    for fault in faults:
        complain(fault)
    for slow in known.slow:
        complain(f"slow: {slow}")
    if faults:
        raise BrokenPart(f"{quantity(len(faults), 'fault')} in {plugin or 'the installed parts'}")
    hindered = [each for each in tried if each.hindrance]
    click.echo(
        f"{quantity(len(declared), 'part')}: all can be used; {len(tried) - len(hindered)} of them"
        " keep the contract of their kind"
    )
    for each in hindered:
        click.echo(
            f"  not tried: {KINDS[each.declared.kind]}/{each.declared.qualified}: {each.hindrance}"
        )


def find(known: Catalogue, name: str) -> Declared:
    """The declaration of "kind/name" or "kind/plugin/name"; without a kind, of the only part of
    that name. Raises UnknownPart, PartNameClash.
    """
    kind, slash, rest = name.partition("/")
    if slash and kind.replace("-", "_") in KINDS:
        return known.find(kind, rest)
    fits = [d for d in known.list() if name in (d.name, d.qualified)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise PartNameClash(
            f"several kinds have a part {name!r}: write"
            f" {' or '.join(f'{KINDS[d.kind]}/{d.qualified}' for d in fits)}"
        )
    if slash and kind not in {d.plugin for d in known.list()}:
        kind_name(kind)  # raises, and names the kinds
    full = [f"{KINDS[d.kind]}/{d.name}" for d in known.list()]
    near = nearest(name, [*full, *(d.name for d in known.list())])
    raise UnknownPart(
        f"there is no part called {name!r}{near}; `harmony parts list` lists them{known.blame()}"
    )


def _settings(out: Console, cls: type, known: Catalogue) -> None:
    """Every setting: its default, what it does, its unit, off value and source, and the parts that
    it takes.
    """
    from harmony_parts.assembly.places import default, kinds_in, name, settings

    fields = settings(cls)
    out.print(styled(("\nSettings", "bold"), "" if fields else ": none"))
    for field in fields:
        about, given = field.metadata, default(field)
        shown = "(must be given)" if given is attrs.NOTHING else f"= {_plain(given, known)}"
        unit = f" {about['unit']}" if about.get("unit") else ""
        out.print(styled("  ", (name(field), "bold"), f" {shown}{unit}"), soft_wrap=True)
        _hang(out, "      ", about.get("help", ""))
        # `None` says that there is no off value; switched off by absence is said in the help
        if about.get("off") is not None:
            _hang(out, "      ", f"off at {_plain(about['off'], known)}")
        for kind in dict.fromkeys(kind for _, kind in kinds_in(field.type)):
            _hang(
                out,
                "      ",
                f"takes a part of the kind {KINDS[kind]}:"
                f" {', '.join(d.name for d in known.list(kind))}",
            )
        if about.get("source"):
            _hang(out, "      ", f"source: {about['source']}")


def _plain(given: Any, known: Catalogue) -> str:
    """A value as it is written in TOML; a part by its name, with the settings that aren't its
    defaults.
    """
    from harmony_parts.assembly.places import default

    if attrs.has(type(given)):
        changed = {
            f.alias: getattr(given, f.name)
            for f in attrs.fields(type(given))
            if f.init and getattr(given, f.name) != default(f)
        }
        try:
            name = value(known.declared(given).name)
        except UnknownPart:
            name = ""  # a class of settings, not a part
        inside = ", ".join(f"{key} = {_plain(inner, known)}" for key, inner in changed.items())
        return (
            name
            if name and not inside
            else f"{{ {', '.join(filter(None, (f'use = {name}' if name else '', inside)))} }}"
        )
    if isinstance(given, list | tuple):
        return f"[{', '.join(_plain(inner, known) for inner in given)}]"
    if isinstance(given, dict):
        return (
            f"{{ {', '.join(f'{key} = {_plain(inner, known)}' for key, inner in given.items())} }}"
            if given
            else "{}"
        )
    return value(given)


def _hang(out: Console, first: str, text: str) -> None:
    """A paragraph whose lines all begin below its first word."""
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
    short_help="Begin a plugin.",
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
    help="Where to write it.  [default: this folder]",
)
def new(kind: str, name: str, folder: Path) -> None:
    """Write a package with one part NAME of KIND, which does what the built-in one of its kind
    does, and whose tests pass: to change from there.
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
        complain(
            f"there is a {label} {name!r} already, {other!r}: once yours is installed, {name!r}"
            f" alone is refused as ambiguous, in the recipes of others too; write {spelled!r} for"
            f" yours and {other!r} for that one, or begin again under another name"
        )
