"""Imports go one way: from each floor of the package to the floors below it.

Every import counts, at any depth of a file: inside functions and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import harmony_parts
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.kinds import KINDS

PACKAGE = Path(harmony_parts.__file__).parent
ROOT_FILES = {"__init__", "__main__", "av", "errors", "plugin", "hookspecs"}

FLOORS: tuple[set[str], ...] = (
    {"display"},
    {"av", "errors", "plugin"},
    {"layers", "codecs", "flow", "tasks", "media", "scenes", "references", "hookspecs"},
    {"branches", "encoders", "anchors", "data", "sources", "kernels"},
    {"optimizers", "schedules", "trainable", "strategies"},
    {"guidance", "attention", "style", "metrics"},
    {"interaction", "filters", "callbacks"},
    {"denoisers"},
    {"assembly", "sample"},
    {"models"},
    {"latents", "convert", "report", "testing"},
    {"generate", "cost"},
    {"train"},
    {"comparison"},
    {"bench"},
    {"demo", "benchmarks"},
    {"cli"},
    {"__init__", "__main__"},  # the entrances of the package: no module imports them
)
"""Every folder of the package and every module of its root, lowest floor first. A module imports
from its own folder and from lower floors.
"""
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ANY = {"cli", "benchmarks"}  # these import anything except the entrances
USE_PARTS = {"testing", "demo", "benchmarks", "comparison", "bench", "cli"}
"""The folders that may import parts. All others know only protocols: parts arrive as arguments."""
KIND_FOLDERS = {kind.folder for kind in KINDS.values()}
PARTS = {
    declared.declaration.target.partition(":")[0].removeprefix("harmony_parts.")
    for declared in Catalogue.discover(only=()).list()
}
"""The modules of the built-in parts. Everything else in the folders of kinds is protocol, hooks or
shared mathematics.
"""


def room(module: str) -> str:
    """The folder of a module, or the module itself if it lies in the root of the package."""
    return module.partition(".")[0] or "__init__"


def fault(module: str, imported: str) -> str:
    """Why `module` may not import `imported` (dotted names without the package), "" if it may."""
    here, there = room(module), room(imported)
    if here == there:
        return "hooks are read by the catalogue only" if imported.endswith(".hooks") else ""
    if missing := {here, there} - FLOOR_OF.keys():
        return f"no floor is assigned to {', '.join(sorted(missing))}"
    if FLOOR_OF[there] == FLOOR_OF["__init__"] and here != "__main__":
        return "nothing inside the package imports its entrance"
    if module.endswith(".hooks"):
        return "" if there == "plugin" else "hooks import only `plugin`"
    if imported in PARTS and here not in USE_PARTS:
        return "parts are imported by the catalogue only, when they are used"
    if here in ANY or FLOOR_OF[there] < FLOOR_OF[here]:
        return ""
    return f"floor {FLOOR_OF[here]} imports floor {FLOOR_OF[there]}"


def imports_of(file: Path) -> Iterator[str]:
    """What a file imports of this package, without `harmony_parts.`"""
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
    """`folder.module` of a file, `folder` of a folder's __init__."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


@cache
def imports() -> dict[str, set[str]]:
    """Module -> the modules of this package that it imports."""
    return {name_of(file): set(imports_of(file)) for file in sorted(PACKAGE.rglob("*.py"))}


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """The nodes of one circle in a graph, in order; empty if there is none."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            if found := walk(following, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def test_every_room_has_a_floor():
    """And every floor names rooms that exist."""
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders | ROOT_FILES == FLOOR_OF.keys()


def test_the_root_holds_only_the_ground_floor():
    """A new module belongs into a folder."""
    assert {file.stem for file in PACKAGE.glob("*.py")} == ROOT_FILES


def test_imports_go_to_lower_floors():
    """Every import of every file."""
    assert len(imports()) > 150
    wrong = [
        f"{module} imports {other}: {why}"
        for module, others in imports().items()
        for other in sorted(others)
        if module != "__init__" and (why := fault(module, other))
    ]
    assert not wrong, "\n".join(wrong)


def test_files_import_in_no_circle():
    """Not even lazily, inside functions."""
    graph = {module: others - {module, ""} for module, others in imports().items()}
    del graph["__init__"]
    assert circle(graph) == []


def test_folders_import_in_no_circle():
    """Folders are read, tested and replaced one at a time."""
    graph: dict[str, set[str]] = {}
    for module, others in imports().items():
        if module != "__init__":
            graph.setdefault(room(module), set()).update(map(room, others))
    assert circle({here: others - {here, "__init__"} for here, others in graph.items()}) == []


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": "b", "b": "c", "c": ""}, []),
        ({"a": "b", "b": "c", "c": "b"}, ["b", "c"]),
        ({"a": "bc", "b": "d", "c": "d"}, []),
    ],
)
def test_circles_are_found(graph, expected):
    """A diamond is none."""
    assert circle(graph) == expected


@pytest.mark.parametrize(
    ("module", "imported", "allowed"),
    [
        ("guidance.sync_cfg", "anchors.mute", False),
        ("guidance.sync_cfg", "anchors.protocol", True),
        ("tasks.sampled", "tasks.joint", True),
        ("guidance.hooks", "guidance.cfg", True),
        ("guidance.hooks", "anchors.protocol", False),
        ("guidance.cfg", "guidance.hooks", False),
        ("flow.protocol", "tasks.protocol", False),
        ("flow.euler", "assembly.build", False),
        ("assembly.build", "flow.euler", False),
        ("sample.sampler", "guidance.none", False),
        ("generate.pipeline", "tasks.joint", False),
        ("testing.check_parts", "codecs.dct", True),
        ("assembly.build", "sample.sampler", False),
        ("sample.sampler", "guidance.protocol", True),
        ("interaction.gldi", "attention.windows", True),
        ("interaction.gldi", "attention.eager", False),
        ("interaction.gldi", "denoisers.protocol", False),
        ("av", "errors", False),
        ("av", "media.clip", False),
        ("cli.main", "guidance.cfg", True),
        ("benchmarks.guidance", "cli.main", True),
        ("demo.train_table", "benchmarks.guidance", False),
        ("generate.jobs", "cli.command", False),
        ("testing.check_parts", "", False),
        ("assembly.build", "attic.build", False),
    ],
)
def test_the_table_allows_and_refuses(module, imported, allowed):
    """Imports that would be right, and imports that would be wrong."""
    assert (fault(module, imported) == "") is allowed


def test_folders_of_kinds_import_nothing_by_themselves():
    """So that reading one hook, or one protocol, imports no part."""
    for folder in KIND_FOLDERS:
        assert not (PACKAGE / folder / "__init__.py").read_text().strip(), (
            f"{folder}/__init__.py isn't empty"
        )


def test_plugins_import_what_is_public():
    """Modules in docs/reference/surface.txt, those behind `import harmony_parts`, and testing."""
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
        for name in imports_of(file)
        if not _is_public(name, public)
    ]
    assert not wrong, "\n".join(wrong)


FORBIDDEN = "aesthetic_predictor_v2_5|dlib|facenet_pytorch|imagebind|pyiqa"
"""Packages whose licences, or those of whose weights, this project can't build on."""


def imports_forbidden(text: str) -> bool:
    """Whether a module imports one of them, by a statement or by `import_module`."""
    how = r"^\s*(import|from)\s+" + "|" + r"import_module\([\"']"
    return re.search(rf"({how})({FORBIDDEN})\b", text, re.MULTILINE) is not None


def test_nothing_imports_what_licences_forbid():
    """Nor requires it: docs/how-to/measure-speech.md says why."""
    assert imports_forbidden("    import dlib")
    assert imports_forbidden("from pyiqa.models import x")
    assert not imports_forbidden("import dlibrary  # not dlib")
    root = PACKAGE.parent
    folders = [root / each for each in ("harmony_parts", "plugins", "examples", "tests")]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    assert len(files) > 300
    assert not [file for file in files if imports_forbidden(file.read_text(encoding="utf-8"))]
    for file in [root / "pyproject.toml", *root.glob("plugins/*/pyproject.toml")]:
        required = file.read_text(encoding="utf-8").replace("-", "_")
        assert not re.search(rf"[\"']({FORBIDDEN})\b", required), file


def _is_public(name: str, public: set[str]) -> bool:
    """Whether `name` is one of these modules, or a name in one of them."""
    return name in public or name.rpartition(".")[0] in public or room(name) == "testing"
