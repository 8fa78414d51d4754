"""Writes the reference pages that follow from the code: `python docs/generate.py [FOLDER]`, by
default docs/reference.

They are committed; tests/docs/test_pages.py says when they are out of date. Third-party parts are
left out, whatever is installed.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import statistics
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click

import harmony_parts as hp
from harmony_parts import hookspecs
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.declared import Declared
from harmony_parts.assembly.discovery import HOOKS
from harmony_parts.assembly.kinds import KINDS, Kind
from harmony_parts.assembly.places import default, kinds_in, name, settings
from harmony_parts.assembly.read import read_recipe, shipped_recipes
from harmony_parts.cli.main import cli
from harmony_parts.demo.table import COLUMNS
from harmony_parts.errors import UnknownPart
from harmony_parts.report.text import value
from harmony_parts.testing import contracts

HERE = Path(__file__).parent
ROOT = HERE.parent
NOTE = (
    "<!-- Written by docs/generate.py; change the code, or that script, and run `make docs`."
    " -->\n\n"
)


# --- parts ----------------------------------------------------------------------------------------


def parts_page(known: Catalogue) -> str:
    """Every kind of part, and every part in the box with its settings."""
    lines = [
        "# Parts\n",
        (
            f"{len(KINDS)} kinds of part and the {len(known.list())} that come with the library."
            " `harmony parts list` and `harmony parts show KIND/NAME` say the same on the command"
            " line, there with those of installed plugins.\n"
        ),
        (
            "A setting without a default must be given. *Off* is the value at which a setting, or"
            " the part, does nothing.\n"
        ),
        *table(
            ["kind", "hook", "parts"],
            (
                [f"[{kind}](#{kind})", f"`{kind.hook}`", names(known, key)]
                for key, kind in KINDS.items()
            ),
        ),
    ]
    for key, kind in KINDS.items():
        lines += kind_section(key, kind, known)
    return NOTE + "\n".join(lines) + "\n"


def names(known: Catalogue, key: str) -> str:
    """The names of a kind's parts."""
    return ", ".join(f"`{declared.name}`" for declared in known.list(key))


def kind_section(key: str, kind: Kind, known: Catalogue) -> Iterator[str]:
    """A kind: what the hook's documentation says, then its parts."""
    first, _, rest = inspect.cleandoc(
        inspect.getdoc(getattr(hookspecs, kind.hook)) or ""
    ).partition("\n")
    yield f"\n## {kind} {{ #{kind} }}\n"
    yield f"{first}\n"
    yield f"Hook `{kind.hook}`, protocol `{kind.protocol.replace(':', '.')}`.\n"
    yield f"{rest.strip()}\n"
    for declared in known.list(key):
        yield from part_section(declared, known)


def part_section(declared: Declared, known: Catalogue) -> Iterator[str]:
    """A part: its summary, its own words, its settings."""
    cls = known.load_declared(declared)
    about = declared.declaration
    yield (
        f"\n### {KINDS[declared.kind]}/{declared.name} {{ #{KINDS[declared.kind]}-{declared.name}"
        " }\n"
    )
    yield (
        about.summary
        + (f" Source: {about.source}." if about.source else "")
        + f" Python: `{about.target.replace(':', '.')}`\n"
    )
    yield f"```text\n{inspect.cleandoc(cls.__doc__ or '')}\n```\n"
    rows = [setting(field, known) for field in settings(cls)]
    yield from (
        table(["setting", "default", "unit", "off", "what it does", "source"], rows)
        if rows
        else ["It has no settings.\n"]
    )


def setting(field: attrs.Attribute[Any], known: Catalogue) -> list[str]:
    """The row of a setting."""
    about, given = field.metadata, default(field)
    kinds = dict.fromkeys(KINDS[kind] for _, kind in kinds_in(field.type))
    takes = (
        f" Takes a part of the kind {' or '.join(f'[{kind}](#{kind})' for kind in kinds)}."
        if kinds
        else ""
    )
    help_ = about.get("help", "").rstrip(".")
    return [
        f"`{name(field)}`",
        "" if given is attrs.NOTHING else f"`{shown(given, known)}`",
        about.get("unit", ""),
        "" if about.get("off") is None else f"`{shown(about['off'], known)}`",
        help_[:1].upper() + help_[1:] + "." * bool(help_) + takes,
        about.get("source", ""),
    ]


def shown(given: Any, known: Catalogue) -> str:
    """A value in TOML's terms; a part by its name, with the settings that aren't its defaults."""
    if attrs.has(type(given)):
        changed = {
            name(f): getattr(given, f.name)
            for f in settings(type(given))
            if getattr(given, f.name) != default(f)
        }
        inside = [f"{key} = {shown(inner, known)}" for key, inner in changed.items()]
        try:
            use = value(known.declared(given).name)
        except UnknownPart:  # a class of settings, not a part
            return f"{{ {', '.join(inside)} }}"
        return f"{{ {', '.join([f'use = {use}', *inside])} }}" if inside else use
    if isinstance(given, list | tuple):
        return f"[{', '.join(shown(inner, known) for inner in given)}]"
    if isinstance(given, dict):
        return (
            f"{{ {', '.join(f'{key} = {shown(inner, known)}' for key, inner in given.items())} }}"
            if given
            else "{}"
        )
    return value(given)


# --- what others build on -------------------------------------------------------------------------


def surface() -> str:
    """Hooks, protocols and public names with their signatures: a change of this file is a change
    for those who build on the library.
    """
    lines = [f"hooks version {HOOKS}", "", "hooks"]
    lines += [f"  {kind.hook} -> {kind.protocol}" for kind in KINDS.values()]
    lines += ["", "protocols"]
    for target in sorted({kind.protocol for kind in KINDS.values()} | BESIDES):
        module, _, cls = target.partition(":")
        lines.append(f"  {target}")
        lines += [
            f"    {member}" for member in members(getattr(importlib.import_module(module), cls))
        ]
    lines += ["", "import harmony_parts as hp"]
    lines += [f"  {public}{signature(getattr(hp, public))}" for public in sorted(hp._NAMES)]
    for module in (
        contracts,
        *(importlib.import_module(f"harmony_parts.{helper}") for helper in FOR_PLUGINS),
    ):
        lines += ["", module.__name__]
        lines += [
            f"  {found}{signature(vars(module)[found])}"
            for found in getattr(module, "__all__", own(module))
        ]
    return "\n".join(lines) + "\n"


def own(module: ModuleType) -> list[str]:
    """The classes and functions that are written in a module, for others to use."""
    written = (
        (name, found)
        for name, found in vars(module).items()
        if inspect.isclass(found) or inspect.isfunction(found)
    )
    return sorted(
        name
        for name, found in written
        if found.__module__ == module.__name__ and not name.startswith("_")
    )


FOR_PLUGINS = (
    "plugin",
    "errors",
    "guidance.scales",
    "denoisers.known_latents",
    "models.offload",
    "assembly.build",
    "assembly.tables",
    "models.folder",
)
"""Modules that plugins build on, besides protocols, `harmony_parts.testing` and what `import
harmony_parts` offers.
"""


BESIDES = {  # what the parts of a kind build, take and give
    "harmony_parts.codecs.protocol:VideoCodec",
    "harmony_parts.codecs.protocol:AudioCodec",
    "harmony_parts.encoders.protocol:Encoder",
    "harmony_parts.branches.protocol:Branch",
    "harmony_parts.branches.protocol:BranchBlock",
    "harmony_parts.denoisers.protocol:Denoiser",
    "harmony_parts.branches.protocol:Tokens",
    "harmony_parts.interaction.protocol:Interaction",
    "harmony_parts.interaction.protocol:Exchange",
    "harmony_parts.interaction.protocol:Layout",
    "harmony_parts.guidance.protocol:Pass",
    "harmony_parts.guidance.protocol:StepTimes",
    "harmony_parts.tasks.protocol:Plan",
    "harmony_parts.anchors.protocol:Scene",
}


def members(cls: type) -> Iterator[str]:
    """Fields and methods of its own, in order."""
    for field, annotation in vars(cls).get("__annotations__", {}).items():
        yield f"{field}: {annotation}"
    for method, function in vars(cls).items():
        if (
            callable(function)
            and (not method.startswith("_") or method == "__call__")
            and inspect.isfunction(function)
        ):
            yield f"{method}{signature(function)}"


def signature(function: Any) -> str:
    """As written; nothing for what has none."""
    try:
        return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(function)))
    except (ValueError, TypeError):
        return ""


# --- recipes, command line, results ---------------------------------------------------------------


def recipes_page() -> str:
    """The recipes that ship, as they are."""
    lines = [
        "# Recipes\n",
        (
            "A recipe holds all settings of a model, its training and its sampling. These come with"
            " the library:\n"
        ),
    ]
    # the text alone: some take parts of plugins
    summaries = {
        shipped: tomllib.loads(file.read_text(encoding="utf-8"))["summary"]
        for shipped, file in shipped_recipes().items()
    }
    lines += table(
        ["recipe", "what it makes"],
        ([f"[{shipped}](#{slug(shipped)})", summary] for shipped, summary in summaries.items()),
    )
    lines.append(
        "`harmony explain RECIPE` shows what one makes; `harmony explain RECIPE --toml` prints it"
        " with every default."
    )
    for shipped, summary in summaries.items():
        lines += [
            f"\n## {shipped} {{ #{slug(shipped)} }}\n",
            f"{summary}\n",
            f'```toml\n--8<-- "harmony_parts/recipes/{shipped}.toml"\n```\n',
        ]
    return NOTE + "\n".join(lines) + "\n"


def slug(shipped: str) -> str:
    """The anchor of a recipe."""
    return shipped.replace("/", "-")


def cli_page() -> str:
    """The help of every command."""
    sections = [
        f"\n## {path} {{ #{path.replace(' ', '-')} }}\n\n```text\n{text}\n```\n"
        for path, text in helps(cli, "harmony")
    ]
    return NOTE + "# Command line\n\nWhat `--help` says, command by command.\n" + "".join(sections)


def helps(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """(command, its help) of a command and those below it."""
    context = click.Context(
        command,
        info_name=path,
        **{**command.context_settings, "terminal_width": 100, "color": False},
    )
    yield path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from helps(found, f"{path} {inner}")


def results_page(results: Path) -> str:
    """The sync that the demo reached, over its seeds, for each number of training steps."""
    reports = [
        json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob("demo-*.json"))
    ]
    lines = [
        "# Results of the demo\n",
        (
            "What `harmony demo` measured: one small model made clips in all three tasks, plain and"
            " with SyncCFG. [Measuring sync](../explanation/measuring-sync.md) says what the"
            " columns mean. Mean over the seeds, and from least to greatest; *chance* is the same"
            " clips re-paired. The reports lie in `docs/results/`.\n"
        ),
    ]
    for steps in sorted({report["steps"] for report in reports}, reverse=True):
        same = [report for report in reports if report["steps"] == steps]
        first = same[0]
        lines += [
            f"\n## {steps:,} training steps\n",
            (
                f"`harmony demo --steps {steps} --seed SEED` for the seeds"
                f" {', '.join(str(r['seed']) for r in same)}: {first['parameters']:,} parameters,"
                f" trained in {', '.join(format(r['seconds']['training'], '.0f') for r in same)} s;"
                f" {first['clips']} clips of each kind and seed.\n"
            ),
            *table(["task", "guidance", *COLUMNS.values()], spread(same)),
        ]
    return NOTE + "\n".join(lines) + "\n"


def spread(reports: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    """A row for each kind of clip that all reports have."""

    def kinds(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
        return {("truth", ""): report["truth"]} | {
            (m["task"], m["guidance"]): m["numbers"] for m in report["made"]
        }

    each = [kinds(report) for report in reports]
    for kind in each[0]:
        rows = [numbers[kind] for numbers in each if kind in numbers]
        yield [*kind, *(over(column, [row.get(column, {}) for row in rows]) for column in COLUMNS)]


def over(column: str, numbers: Sequence[dict[str, float]]) -> str:
    """Mean, range and chance of a number over the seeds."""
    paired, chance = (
        [number[which] for number in numbers if which in number] for which in ("paired", "repaired")
    )
    if not paired:
        return "-"
    digits = 0 if column == "offset_ms" else 1 if column.endswith("events") else 2
    text = (
        f"{statistics.mean(paired):.{digits}f} ({min(paired):.{digits}f} to"
        f" {max(paired):.{digits}f})"
    )
    return text + (f"; chance {statistics.mean(chance):.2f}" if digits == 2 and chance else "")


# --- sizes ----------------------------------------------------------------------------------------

LETTERS = {
    "B": "clips in a batch",
    "F": "frames of a clip",
    "T_v": "video latents in time",
    "T_a": "audio latents in time",
    "H": "rows of the latent grid",
    "W": "columns of the latent grid",
    "C_v": "channels of a video latent",
    "C_a": "channels of an audio latent",
    "S": "tokens of a video latent: patches of p x p latents",
    "D": "width of a branch",
    "h": "attention heads",
    "d": "width of a head, D / h",
    "N": "layers, each a joint block",
    "R": "latents of the reference sound, at most",
    "L": "tokens of a condition, or of all that a stream attends to",
    "D_c": "width of a condition's tokens",
    "U": "distinct times of a stream in a sample",
}
PAPER = {
    "B": 1,
    "F": 121,
    "T_v": 31,
    "T_a": 157,
    "H": 44,
    "W": 80,
    "C_v": 48,
    "C_a": 20,
    "S": 22 * 40,
    "D": 3072,
    "h": 24,
    "d": 128,
    "N": 30,
    "R": 94,
    "height": 704,
    "width": 1280,
}
"""Five seconds of Wan2.2-TI2V-5B at 704 x 1280 and 24 frames a second, and MMAudio's latents at
31.25 a second, as in Ovi; R is three seconds.
"""
TENSORS = {
    "frames of a clip": "B, F, height, width, 3",
    "video latents": "B, T_v, H, W, C_v",
    "audio latents": "B, T_a, C_a",
    "`Times.values`, `Times.index` of the video": "B, U; B, T_v",
    "a text condition: tokens, mask": "B, L, D_c; B, L",
    "reference image: tokens, mask": "B, 1, H, W, C_v; B, 1",
    "reference sound: tokens, mask": "B, R, C_a; B, R",
    "hidden states of the video": "B, T_v, S, D",
    "hidden states of the audio": "B, T_a, 1, D",
    "the audio branch's sequence: reference, target, words": "B, R + T_a + L, D",
    "modulation, per distinct time": "B, U, 6, D",
    "rotary table of the video (cos, sin)": "T_v, S, d / 2, 2",
    "video reads audio: q; k and v": "B, T_v, S, h, d; B, T_a, 1, h, d",
    "video reads audio: start and end of each window": "T_v; T_v",
    "audio reads video: q; k and v": "B, T_a, 1, h, d; B, T_v, S, h, d",
    "audio reads video: start and end of each window": "T_a; T_a",
    "clock of the video, of the audio (float64)": "T_v, 2; T_a, 2",
    "anchors: static video, mute audio": "B, T_v, H, W, C_v; B, T_a, C_a",
}


def sizes(known: Catalogue) -> str:
    """The letters and the tensors, at the size of the demo and at that of the paper. Included by
    explanation/shapes.md.
    """
    recipe = read_recipe("demo", parts=known)
    form, denoiser = recipe.format, recipe.denoiser
    video, audio = recipe.codecs.video.build(format=form), recipe.codecs.audio.build(format=form)
    longest = max(
        encoder.seconds_max
        for encoder in recipe.encoders.values()
        if hasattr(encoder, "seconds_max")
    )
    width, heads = denoiser.video.width, denoiser.video.heads
    demo = {
        "B": 1,
        "F": form.frames,
        "T_v": video.latents(form.frames),
        "T_a": audio.latents(form.samples(form.frames)),
        "H": video.grid[0],
        "W": video.grid[1],
        "C_v": video.channels,
        "C_a": audio.channels,
        "S": video.grid[0] * video.grid[1] // denoiser.video.patch**2,
        "D": width,
        "h": heads,
        "d": width // heads,
        "N": denoiser.layers,
        "R": audio.latents(round(longest * form.sample_rate)),
        "height": form.height,
        "width": form.width,
    }
    lines = table(
        ["letter", "meaning", "demo", "paper"],
        ([f"`{k}`", v, str(demo.get(k, "")), str(PAPER.get(k, ""))] for k, v in LETTERS.items()),
    )
    rows = (
        [what, *(f"`{_shape(shape, values)}`" for values in ({}, demo, PAPER))]
        for what, shape in TENSORS.items()
    )
    return "\n".join([*lines, *table(["tensor", "shape", "demo", "paper"], rows)])


def _shape(shapes: str, values: dict[str, int]) -> str:
    """ "B, T; B" -> "[1, 24] [1]"; sums and quotients are computed where all of their letters are
    known.
    """

    def number(term: str) -> str:
        words = [str(values.get(word, word)) for word in term.split()]
        if values and all(word.isdecimal() or word in "+/" for word in words):
            left, *rest = words
            total = int(left)
            for sign, right in zip(rest[::2], rest[1::2]):
                total = total + int(right) if sign == "+" else total // int(right)
            return str(total)
        return " ".join(words)

    return " ".join(
        f"[{', '.join(number(term) for term in shape.split(', '))}]" for shape in shapes.split("; ")
    )


# --- writing --------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Any) -> list[str]:
    """A Markdown table."""

    def line(cells: Sequence[str]) -> str:
        return (
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )

    return [line(head), "|" + "---|" * len(head), *map(line, rows), ""]


def pages() -> dict[str, str]:
    """File name -> text of every page that follows from the code."""
    known = Catalogue.discover(only=())
    return {
        "parts.md": parts_page(known),
        "recipes.md": recipes_page(),
        "surface.txt": surface(),
        "cli.md": cli_page(),
        "results.md": results_page(HERE / "results"),
        "sizes.txt": sizes(known),
    }


def main(folder: Path) -> None:
    """Write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in pages().items():
        (folder / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "reference")
