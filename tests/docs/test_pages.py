"""The documentation agrees with the code: generated pages, links, snippets and commands."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import harmony_parts as hp
from harmony_parts import errors
from harmony_parts.assembly.build import build
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.read import read_recipe, shipped_recipes
from harmony_parts.cli.main import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(DOCS.rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r'^--8<-- "([^":]+)(?::(\w+))?"$', re.MULTILINE)


def named(page: Path) -> str:
    """What tests call a page."""
    return page.relative_to(ROOT).as_posix()


def load(name: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A file as the module `name`."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def fences(page: Path, language: str) -> Iterator[str]:
    """The code blocks of a page in a language, without those that include a file."""
    for found, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if found == language and not INCLUDE.search(text):
            yield text


def with_fences(language: str) -> list[Any]:
    """The pages with code blocks in a language."""
    return [
        pytest.param(page, id=named(page)) for page in PAGES if next(fences(page, language), None)
    ]


# --- pages ----------------------------------------------------------------------------------------


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/generate.py as a module; its own package is `generator`."""
    monkeypatch.syspath_prepend(DOCS)
    return load("docs_generate", DOCS / "generate.py", monkeypatch)


def test_generated_pages_are_up_to_date(generate):
    """Apart from line breaks, which the help formatter chooses."""
    for name, text in generate.pages().items():
        committed = (DOCS / name).read_text(encoding="utf-8")
        assert committed.split() == text.split(), (
            f"docs/{name} is out of date: run `python docs/generate.py`"
        )


def test_the_python_page_has_every_public_name(generate):
    """With a summary, and the directive that the site renders."""
    page = generate.api_page()
    for name, target in hp._NAMES.items():
        module, _, attribute = target.partition(":")
        assert re.search(rf"^\| `{name}\(.*\)` \| \S.*\|$", page, re.MULTILINE), name
        assert f"\n::: harmony_parts.{module}.{attribute or name}\n" in page


def test_directives_of_the_python_page_name_existing_objects(generate):
    """The site would render nothing for a name that doesn't exist."""
    targets = re.findall(r"^::: (\S+)$", generate.api_page(), re.MULTILINE)
    assert len(targets) > len(hp._NAMES)
    for target in targets:
        pkgutil.resolve_name(target)


def test_the_python_page_explains_every_error(generate):
    """When each is raised, and what its message holds."""
    page = generate.api_page()
    classes = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.HarmonyError)
    ]
    assert len(classes) >= 9
    for value in classes:
        row = rf"^\| `{value.__name__}` \| [^|]+ \| [^|]+ \|$"
        assert re.search(row, page, re.MULTILINE), f"{value.__name__} lacks an explanation"


def test_decision_records_begin_with_status_and_date(generate, tmp_path):
    """The index is made from these lines; unused numbers are marked."""
    (tmp_path / "0001-a.md").write_text("# 1. A\n\n- Status: accepted\n- Date: 2026-11-22\n\nX.\n")
    (tmp_path / "0003-c.md").write_text("# 3. C\n\n- Status: reversed\n- Date: 2026-11-23\n\nX.\n")
    page = generate.decisions_page(tmp_path)
    assert "| 1 | [A](0001-a.md) | accepted | 2026-11-22 |\n| 2 | *" in page
    assert "| 3 | [C](0003-c.md) | reversed | 2026-11-23 |" in page
    (tmp_path / "0004-d.md").write_text("# 4. D\n\nX.\n")
    with pytest.raises(ValueError, match=r"0004-d.md: a record begins with"):
        generate.decisions_page(tmp_path)


def test_results_are_tabulated_over_seeds(generate, tmp_path):
    """Mean, range and chance of each number over all reports."""
    for seed, shares in enumerate([(0.5, 0.2), (0.7, 0.3)]):
        number = {
            "paired": shares[0],
            "paired_error": 0.1,
            "repaired": shares[1],
            "repaired_error": 0.1,
        }
        report = {
            "seed": seed,
            "clips": 36,
            "steps": 1500,
            "parameters": 1000,
            "seconds": {"training": 300.0, "all": 400.0},
        }
        report |= {
            "truth": {"video_matched": number},
            "made": [
                {"task": "joint", "guidance": "none", "seconds": 1.0, "numbers": {"f1": number}}
            ],
        }
        (tmp_path / f"demo-1500-seed{seed}.json").write_text(json.dumps(report))
    page = generate.results_page(tmp_path)
    assert "| truth |  | 0.60 (0.50 to 0.70); chance 0.25 | - |" in page
    assert "| joint | none | - | - | - | - | - | 0.60 (0.50 to 0.70); chance 0.25 |" in page
    assert "for the seeds 0, 1" in page


def test_every_page_is_in_the_navigation():
    """Decision records are reached from their index."""
    listed = re.findall(
        r"(\S+\.md)$",
        (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1],
        re.MULTILINE,
    )
    assert sorted(listed) == sorted(
        page.relative_to(DOCS).as_posix()
        for page in DOCS.rglob("*.md")
        if not page.match("decisions/0*.md")
    )


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        given = re.search(r"\{ #(\S+) \}", heading)
        found.add(
            given[1]
            if given
            else re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
        )
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_resolve(page):
    """Links within the repository: to files and to headings in them."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_included_files_and_their_sections_exist():
    """A missing section would be an empty code block."""
    included = [
        found for page in PAGES for found in INCLUDE.findall(page.read_text(encoding="utf-8"))
    ]
    assert len(included) >= 8
    for name, section in included:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not section or (f"[start:{section}]" in text and f"[end:{section}]" in text), (
            f"{name} has no section {section}"
        )


# --- snippets -------------------------------------------------------------------------------------


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a small model of fresh weights, in place of that which ships."""
    monkeypatch.chdir(tmp_path)
    hp.Pipeline.assemble(hp.read_recipe("demo", ["denoiser.layers=1"])).save("harmony-tiny")


@pytest.mark.parametrize("page", with_fences("python"))
@pytest.mark.usefixtures("demo")
def test_python_runs(page):
    """All blocks of a page in one namespace."""
    namespace: dict[str, Any] = {"__name__": "snippet"}
    for number, text in enumerate(fences(page, "python"), start=1):
        exec(compile(text, f"{named(page)}, block {number}", "exec"), namespace)


def merged(table: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with a change merged into it; a part, or a pair of shifts, replaces another."""
    result = copy.deepcopy(dict(table))
    for key, value in change.items():
        old = result.get(key)
        result[key] = (
            merged(old, value)
            if isinstance(value, dict)
            and "use" not in value
            and isinstance(old, dict)
            and key != "shift"
            else value
        )
    return result


@pytest.mark.parametrize("page", with_fences("toml"))
def test_toml_is_part_of_a_recipe(page, monkeypatch):
    """Merged into the demo's recipe, each block reads and builds.

    The plugins that the pages describe are available.
    """
    known = Catalogue.discover(only=())
    monkeypatch.syspath_prepend(ROOT / "tests" / "helpers" / "third_party" / "harmony-half")
    known.add("half", importlib.import_module("harmony_half"))
    known.add(
        "strikes", load("own_condition", ROOT / "examples" / "04_own_condition.py", monkeypatch)
    )
    assert not known.failures
    base = tomllib.loads(shipped_recipes()["demo"].read_text(encoding="utf-8"))
    for text in fences(page, "toml"):
        build(read_recipe(merged(base, tomllib.loads(text)), parts=known))


def commands() -> list[Any]:
    """Every line of the shell blocks."""
    lines = [
        (page, line.strip())
        for page in PAGES
        for text in fences(page, "bash")
        for line in text.replace("\\\n", " ").splitlines()
    ]
    return [pytest.param(line, id=f"{named(page)}: {line[:60]}") for page, line in lines if line]


@pytest.mark.parametrize("line", commands())
def test_commands_exist(line):
    """Their options exist, and so do the settings that `--set` changes."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        assert re.search(
            rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
        )
        return
    if words[0] == "torchrun":
        words = words[words.index("-m") + 1 :]
    assert words[0] in ("harmony", "harmony_parts")
    command: click.Command = cli
    context, rest = click.Context(cli), words[1:]
    while isinstance(command, click.Group) and rest:
        found = command.get_command(context, rest[0])
        assert found is not None, f"no command {rest[0]}"
        command, rest = found, rest[1:]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= options
    overrides = [value for word, value in pairwise(rest) if word == "--set"]
    if command.name in ("train", "explain"):
        read_recipe(rest[0] if rest[0] in shipped_recipes() else "demo", overrides)
