"""The documentation keeps up with the code: generated pages, links, snippets of Python, TOML and
the command line.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
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
    """A page, in the name of a test."""
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
    """The blocks of a page in that language that aren't included from a file."""
    for found, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if found == language and not INCLUDE.search(text):
            yield text


def with_fences(language: str) -> list[Any]:
    """The pages that have such blocks."""
    return [
        pytest.param(page, id=named(page)) for page in PAGES if next(fences(page, language), None)
    ]


# --- pages ----------------------------------------------------------------------------------------


def test_generated_pages_are_up_to_date(monkeypatch):
    """`python docs/generate.py` would change nothing but line breaks, which are the help
    formatter's own affair.
    """
    generate = load("docs_generate", DOCS / "generate.py", monkeypatch)
    for name, text in generate.pages().items():
        committed = (DOCS / "reference" / name).read_text(encoding="utf-8")
        assert committed.split() == text.split(), (
            f"docs/reference/{name} is out of date: run `python docs/generate.py`"
        )


def test_results_are_tabulated_over_seeds(tmp_path, monkeypatch):
    """Mean, range and chance of each number, over as many reports as there are."""
    generate = load("docs_generate", DOCS / "generate.py", monkeypatch)
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
        (tmp_path / f"demo-1500-seed{seed}.json").write_text(generate.json.dumps(report))
    page = generate.results_page(tmp_path)
    assert "| truth |  | 0.60 (0.50 to 0.70); chance 0.25 | - |" in page
    assert "| joint | none | - | - | - | - | - | 0.60 (0.50 to 0.70); chance 0.25 |" in page
    assert "for the seeds 0, 1" in page


def test_every_page_is_in_the_navigation():
    """And every page of the navigation is there."""
    listed = re.findall(
        r"(\S+\.md)$",
        (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1],
        re.MULTILINE,
    )
    assert sorted(listed) == sorted(
        page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")
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
    """To files of the repository, and to headings in them."""
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


def test_included_files_are_there():
    """With their sections."""
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
    """A folder in which the demo has been run, as far as snippets can tell: its model is there,
    with fresh weights and one layer.
    """
    monkeypatch.chdir(tmp_path)
    hp.Pipeline.assemble(hp.read_recipe("demo", ["denoiser.layers=1"])).save("out/demo/run/model")


@pytest.mark.parametrize("page", with_fences("python"))
@pytest.mark.usefixtures("demo")
def test_python_runs(page):
    """All blocks of a page, one after the other."""
    namespace: dict[str, Any] = {"__name__": "snippet"}
    for number, text in enumerate(fences(page, "python"), start=1):
        exec(compile(text, f"{named(page)}, block {number}", "exec"), namespace)


def merged(table: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with a piece of one put into it; a part takes the place of the one that was
    there.
    """
    result = copy.deepcopy(dict(table))
    for key, value in change.items():
        old = result.get(key)
        result[key] = (
            merged(old, value)
            if isinstance(value, dict) and "use" not in value and isinstance(old, dict)
            else value
        )
    return result


@pytest.mark.parametrize("page", with_fences("toml"))
def test_toml_is_part_of_a_recipe(page, monkeypatch):
    """Put into the demo's recipe, with the plugins that the pages are about, each block reads and
    builds.
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
    """Every line of a shell block."""
    lines = [
        (page, line.strip())
        for page in PAGES
        for text in fences(page, "bash")
        for line in text.splitlines()
    ]
    return [pytest.param(line, id=f"{named(page)}: {line[:60]}") for page, line in lines if line]


@pytest.mark.parametrize("line", commands())
def test_commands_exist(line):
    """With the options that are given; settings of shipped recipes are settings."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        assert re.search(
            rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
        )
        return
    assert words[0] == "harmony"
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
