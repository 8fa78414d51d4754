"""Imports go one way: errors, av <- plugin, hookspecs, hooks <- protocols <- maths <- parts <-
catalogue, assembly <- train, sample <- testing, cli.

A part never imports a part of another kind: neighbours arrive as arguments. Assembly and the loops
know protocols, never parts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import harmony_parts
from harmony_parts.hookspecs import KINDS

PACKAGE = Path(harmony_parts.__file__).parent
FOLDERS = {kind.folder for kind in KINDS.values()}
# Shared maths that lives beside the parts of one kind, but is no part: it imports only protocols
# and other maths.
MATHS = {
    "rope",
    "attention.windows",
    "blocks.attention",
    "blocks.known",
    "blocks.layers",
    "kernels",
    "offload",
}

BASE = {"errors", "av", "pace"}
FRONT = BASE | {"plugin", "hookspecs"}
MEDIA = BASE | {"media", "ffmpeg", "demux", "mux", "sound", "picture"}
ASSEMBLY = {"contract", "catalogue", "faults", "structure", "overrides", "recipe", "assemble"}
SAVED = {"tensorfile", "weights"}
# Layer -> the layers, modules and folders that it may import. "own" is the module's own folder.
MAY: dict[str, set[str]] = {
    "base": BASE,
    "plugin": set(),
    "hookspecs": {"plugin"},
    "hooks": {"plugin"},
    "media": MEDIA,
    "protocol": MEDIA | {"protocol"},
    "maths": MEDIA | {"protocol", "maths"},
    "part": MEDIA | {"plugin", "protocol", "maths", "own"},
    "assembly": FRONT | MEDIA | ASSEMBLY | {"protocol"},
    "loop": FRONT | MEDIA | ASSEMBLY | SAVED | {"protocol", "maths", "metrics.compare", "own"},
    "pipeline": FRONT | MEDIA | ASSEMBLY | SAVED | {"protocol", "maths", "loop", "pipeline", "own"},
    "top": {"anything"},
}


def layer(module: str) -> str:
    """The layer of a module, by its dotted name without `harmony_parts.`"""
    first, _, rest = module.partition(".")
    if module in MATHS or first in MATHS:
        return "maths"
    if first in FOLDERS:
        return {"protocol": "protocol", "hooks": "hooks"}.get(rest, "part")
    if first in ("train", "sample"):
        return "loop"
    if first == "convert":
        return "pipeline"
    if first in ("cli", "testing", "benchmarks", "comparison", "cost", "demo", "__main__", ""):
        return "top"
    for name, members in (
        ("base", BASE),
        ("media", MEDIA),
        ("assembly", ASSEMBLY),
        ("pipeline", {"pipeline"} | SAVED),
    ):
        if module in members:
            return name
    return module  # plugin, hookspecs; anything new is unknown to MAY, and fails


def imported(file: Path) -> Iterator[str]:
    """What a file imports of this package, at any depth of it, without `harmony_parts.`"""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide where a name comes from"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if _is_module(name) else str(node.module) for name in submodules]
        else:
            continue
        yield from (
            name.removeprefix("harmony_parts").lstrip(".")
            for name in names
            if name.split(".")[0] == "harmony_parts"
        )


def _is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def name_of(file: Path) -> str:
    """`folder.module` of a file, `folder` of its __init__."""
    return (
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        .removesuffix("__init__")
        .rstrip(".")
    )


def faults(module: str, imports: Iterator[str]) -> list[str]:
    """The imports that a module may not have."""
    if layer(module) not in MAY:
        return [f"{module} is in no layer: give it one here"]
    may = MAY[layer(module)]
    folder = module.partition(".")[0]
    found = []
    for other in imports:
        own = "own" in may and other.partition(".")[0] == folder and layer(other) != "hooks"
        if not (own or other in may or layer(other) in may or "anything" in may):
            found.append(f"{module} ({layer(module)}) imports {other} ({layer(other)})")
    return found


def test_imports_go_one_way():
    """Every file of the package against the table above."""
    # but harmony_parts/__init__.py, whose imports are lazy
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if name_of(file)]
    assert len(files) > 50
    wrong = [fault for file in files for fault in faults(name_of(file), imported(file))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "other", "allowed"),
    [
        ("guidance.sync_cfg", "anchors.mute", False),
        ("guidance.sync_cfg", "anchors.protocol", True),
        ("tasks.sampled", "tasks.joint", True),
        ("guidance.hooks", "guidance.cfg", False),
        ("flow.protocol", "flow.euler", False),
        ("flow.euler", "assemble", False),
        ("assemble", "flow.euler", False),
        ("sample.loop", "guidance.none", False),
        ("sample.loop", "guidance.protocol", True),
        ("interaction.gldi", "attention.windows", True),
        ("interaction.gldi", "attention.eager", False),
        ("errors", "av", True),
        ("av", "media", False),
        ("cli.main", "guidance.cfg", True),
    ],
)
def test_the_table_says_what_it_should(module, other, allowed):
    """Imports that would be right, and imports that would be wrong."""
    assert (faults(module, iter([other])) == []) is allowed


def test_folders_of_kinds_import_nothing_by_themselves():
    """So that looking at one hook, or one protocol, imports no part."""
    for folder in FOLDERS:
        assert not (PACKAGE / folder / "__init__.py").read_text().strip(), (
            f"{folder}/__init__.py isn't empty"
        )


def test_plugins_import_what_is_public():
    """What docs/reference/surface.txt lists, and no more: protocols, the modules in it, those
    behind `import harmony_parts`, and testing.
    """
    root = PACKAGE.parent
    surface = (root / "docs" / "reference" / "surface.txt").read_text(encoding="utf-8")
    public = {
        line.strip().partition(":")[0].removeprefix("harmony_parts.")
        for line in surface.splitlines()
        if "harmony_parts." in line
    }
    public |= {target.partition(":")[0] for target in harmony_parts._NAMES.values()} | {
        "",
        "testing",
    }
    files = sorted((root / "plugins").glob("*/harmony_*/**/*.py"))
    assert len(files) > 20
    wrong = [
        f"{file.relative_to(root)} imports {name}"
        for file in files
        for name in imported(file)
        if not _within(name, public)
    ]
    assert not wrong, "\n".join(wrong)


def _within(name: str, public: set[str]) -> bool:
    """A module of them, or what it has."""
    return (
        name in public or name.rpartition(".")[0] in public or name.partition(".")[0] == "testing"
    )
