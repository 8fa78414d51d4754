"""`harmony parts`: listing, showing, checking; with plugins that work and plugins that don't."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.kinds import KINDS
from harmony_parts.assembly.places import NAME, places, settings, snippet
from harmony_parts.assembly.read import read_recipe, shipped_recipes
from harmony_parts.attention.rule import backends
from harmony_parts.errors import AssemblyError
from harmony_parts.plugin import hookimpl, part
from harmony_parts.testing.check_parts import broken

BUILT_IN = Catalogue.discover(only=[]).list()

PLUGINS = {
    "half": (
        """
from harmony_parts.plugin import hookimpl, part

@hookimpl
def harmony_guidance():
    yield part("cli-half", "cli_half_parts:Half", summary="Goes half the way.", source="a test [2024]")
    yield part("cli-outer", "cli_half_parts:Outer", summary="Does what another does.")
"""  # noqa: E501
    ),
    "half_parts": (
        '''
import attrs
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.plugin import knob

@attrs.frozen
class Half:
    """Goes half the way."""

    scale: float = knob(0.5, help="how far", unit="of the way", off=1.0, source="a guess")

    def passes(self, times, state):
        return NoGuidance().passes(times, state)

    def combine(self, preds, times, state):
        return NoGuidance().combine(preds, times, state)[0].map(lambda v: self.scale * v), state

@attrs.frozen
class Outer:
    """Does what another does."""

    inner: Guidance = knob(help="the other")

    def passes(self, times, state):
        return self.inner.passes(times, state)

    def combine(self, preds, times, state):
        return self.inner.combine(preds, times, state)
'''
    ),
    "weighty": (
        """
from harmony_parts.plugin import hookimpl, part

@hookimpl
def harmony_video_codec():
    yield part("cli-loads", "cli_weighty_parts:Loads", summary="Needs its weights.")
    yield part("cli-picky", "cli_weighty_parts:Picky", summary="Needs small pictures.")
"""
    ),
    "weighty_parts": (
        """
from pathlib import Path
import attrs

@attrs.frozen
class Loads:
    def build(self, *, format):
        Path(__file__).with_name("weights.bin").read_bytes()
        raise RuntimeError("this is never reached")

@attrs.frozen
class Picky:
    def build(self, *, format):
        raise ValueError("pictures must be 1 x 1")
"""
    ),
    "broken": "import a_module_that_is_not_there\n",
}


def install(site: Path, *names: str) -> None:
    """Real modules with real metadata, as pip leaves them."""
    for name in names:
        for module in (name, f"{name}_parts"):
            if module in PLUGINS:
                (site / f"cli_{module}.py").write_text(PLUGINS[module])
        info = site / f"cli_{name}-0.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cli-{name}\nVersion: 0.3\n")
        (info / "entry_points.txt").write_text(f"[harmony_parts]\n{name} = cli_{name}\n")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One plugin that works and one that can't be imported."""
    install(tmp_path, "half", "broken")
    monkeypatch.delenv("HARMONY_PARTS_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


def test_the_list_has_every_part(harmony):
    lines = harmony("parts", "list").output.splitlines()
    for declared in BUILT_IN:
        kind = lines.index(str(KINDS[declared.kind]))
        rest = lines[kind + 1 :]
        section = rest[
            : next(
                (k for k, line in enumerate(rest) if line and not line.startswith(" ")), len(rest)
            )
        ]
        assert any(line.split()[0] == declared.name for line in section), declared


def test_the_list_of_one_kind(harmony):
    output = harmony("parts", "list", "video-codec").output
    assert output.startswith("video-codec\n  dct ")
    assert "log-mel" not in output
    assert harmony("parts", "list", "video_codec").output == output


def test_the_list_as_json(harmony):
    result = harmony("parts", "list", "--json")
    found = json.loads(result.stdout)
    assert found.keys() == {"parts", "failures"}
    own = [p for p in found["parts"] if p["plugin"] == "harmony"]  # others may be installed here
    assert [(p["kind"], p["qualified"]) for p in own] == [
        (str(KINDS[d.kind]), d.qualified) for d in BUILT_IN
    ]
    assert all(p["summary"] and p["target"].count(":") == 1 for p in found["parts"])
    one = json.loads(harmony("parts", "list", "guidance", "--json").stdout)["parts"]
    assert {p["kind"] for p in one} == {"guidance"}


@pytest.mark.parametrize("declared", BUILT_IN, ids=lambda d: f"{KINDS[d.kind]}/{d.name}")
def test_every_part_can_be_shown(harmony, declared):
    result = harmony("parts", "show", f"{KINDS[declared.kind]}/{declared.name}")
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert declared.qualified in words
    assert declared.declaration.summary in words
    assert declared.declaration.source in words
    for field in settings(catalogue().load_declared(declared)):
        assert f"  {field.alias} " in result.output
        for what in ("help", "unit", "source"):
            assert " ".join(field.metadata.get(what, "").split()) in words
        if field.metadata.get("off") is not None:
            assert "off at " in result.output


def paste(table: Any, piece: Any) -> None:
    """Put the part of a snippet into a recipe's table, in place of what is there."""
    for key, inner in piece.items():
        if not isinstance(inner, dict) or "use" in inner or not isinstance(table.get(key), dict):
            table[key] = inner
        else:
            paste(table[key], inner)


@pytest.mark.parametrize("declared", BUILT_IN, ids=lambda d: f"{KINDS[d.kind]}/{d.name}")
def test_the_snippet_can_be_pasted(declared):
    """Into the shipped recipe: it is read, and the part is the one with its defaults, at the place
    that the snippet names. Where a setting must be given, that is said."""
    known = catalogue()
    text = snippet(declared, known)
    piece = tomllib.loads(text)
    table = tomllib.loads(shipped_recipes()["demo"].read_text())
    paste(table, piece)
    if missing := re.findall(r"# (\w+) = \.\.\.  \(must be given\)", text):
        with pytest.raises(AssemblyError, match=rf"\.{missing[0]}: missing: expected"):
            read_recipe(table)
        return
    found: Any = read_recipe(table)
    while attrs.has(type(found)) and piece.keys().isdisjoint({"use"}):
        (key,) = piece
        found, piece = getattr(found, key), piece[key]
        if isinstance(found, dict):
            assert list(piece) == [NAME]
            found, piece = found[NAME], piece[NAME]
        if isinstance(found, tuple):
            (found,), (piece,) = found, piece
    assert found == known.load_declared(declared)()


def test_every_kind_has_a_place_in_a_recipe():
    assert {place.kind for place in places(catalogue())} == set(KINDS)


def test_a_part_that_is_a_setting_is_shown_with_its_choices(harmony):
    output = harmony("parts", "show", "guidance/sync-cfg").output
    assert "takes a part of the kind anchor: mute, static" in output
    assert "video = 3.0\n" in output
    assert "off at 1.0" in output


def test_a_part_is_found_without_its_kind_where_that_is_clear(harmony):
    assert (
        harmony("parts", "show", "gldi").output
        == harmony("parts", "show", "interaction/harmony/gldi").output
    )
    result = harmony("parts", "show", "none")
    assert result.exit_code == 1
    assert (
        "interaction/harmony/none or style/harmony/none or guidance/harmony/none" in result.stderr
    )


def test_unknown_parts_and_kinds(harmony):
    for name, says in (
        ("guidance/synccfg", "'sync-cfg'"),
        ("sync-cgf", "'sync-cfg'"),
        ("guidence/cfg", "'guidance'"),
    ):
        result = harmony("parts", "show", name)
        assert result.exit_code == 1
        assert f"did you mean {says}" in result.stderr


def test_plugins_are_listed_with_their_package_and_failed_ones_with_their_cause(harmony, plugins):
    output = harmony("parts", "list").output
    assert "cli-half          Goes half the way.  (cli-half 0.3)" in output
    last = output.rstrip().splitlines()[-1]
    assert last.startswith("failed: broken (cli-broken 0.3)")
    assert "a_module_that_is_not_there" in last
    found = json.loads(harmony("parts", "list", "--json").stdout)
    assert {"plugin": "half", "qualified": "half/cli-half", "version": "0.3"}.items() <= next(
        p for p in found["parts"] if p["plugin"] == "half"
    ).items()
    (failure,) = found["failures"]
    assert (failure["plugin"], failure["distribution"]) == ("broken", "cli-broken")
    assert "a_module_that_is_not_there" in failure["cause"]


def test_a_plugins_part_is_shown_as_any_other(harmony, plugins):
    output = harmony("parts", "show", "guidance/half/cli-half").output
    for piece in (
        "scale = 0.5 of the way",
        "off at 1.0",
        "source: a guess",
        "a test [2024]",
        'use = "half/cli-half"',
        "(cli-half 0.3)",
    ):
        assert piece in output


def test_a_plugins_guidance_is_used_and_set_like_any_other(harmony, plugins, trained, tmp_path):
    args = ("generate", trained, "--guidance", "half/cli-half", "--device", "cpu")
    result = harmony(*args, "--set", "scale=0.25", "--out", tmp_path / "x.mp4")
    assert result.exit_code == 0, result.output
    result = harmony(*args, "--set", "scael=0.25", "--out", tmp_path / "x.mp4")
    assert result.exit_code == 1
    assert "did you mean 'scale'" in result.stderr


def test_check_names_what_is_broken(harmony, plugins, monkeypatch):
    monkeypatch.setenv("HARMONY_PARTS_PLUGINS", "half,broken")
    result = harmony("parts", "check")
    assert result.exit_code == 1
    assert "plugin broken (cli-broken 0.3)" in result.stderr
    assert "2 faults" in result.stderr


def test_a_name_that_is_declared_twice_is_a_fault() -> None:
    """Each of the two could be imported, and neither can be named."""

    class Twice:
        @hookimpl
        def harmony_guidance(self):
            yield part("again", "harmony_parts.guidance.cfg:CFG", summary="Once.")
            yield part("again", "harmony_parts.guidance.none:NoGuidance", summary="Twice.")

    known = Catalogue.discover(only=())
    known.add("twice", Twice())
    (fault,) = broken(known, "twice")
    assert "'twice/again' is declared 2 times" in fault


@pytest.mark.parametrize("name", ["half", "cli-half"])
def test_check_of_one_plugin_runs_the_contract_of_its_kind(harmony, plugins, name):
    """`Half` halves the velocity at its first step, where all passes agree; `Outer` can't be made
    without a setting.
    """
    result = harmony("parts", "check", name)
    assert result.exit_code == 1
    assert "guidance half/cli-half (cli-half 0.3): Half(scale=0.5) must" in result.stderr
    assert "broken" not in result.stderr
    assert "1 fault in" in result.stderr


def test_check_of_what_needs_files_or_settings_says_so(harmony, tmp_path, monkeypatch):
    """A codec is stopped before it reads its weights, one that refuses the format is believed; both
    are sound as far as one can see.
    """
    monkeypatch.delenv("HARMONY_PARTS_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"")
    install(tmp_path, "weighty")
    catalogue.cache_clear()
    result = harmony("parts", "check", "weighty")
    catalogue.cache_clear()
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "2 parts: all can be used; 0 of them keep the contract of their kind",
        f"  not tried: video-codec/weighty/cli-loads: would read {tmp_path / 'weights.bin'}",
        "  not tried: video-codec/weighty/cli-picky: pictures must be 1 x 1",
    ]


def test_check_of_one_plugin_that_fails_or_is_not_there(harmony, plugins):
    result = harmony("parts", "check", "broken")
    assert result.exit_code == 1
    assert "No module named 'a_module_that_is_not_there'" in result.stderr
    result = harmony("parts", "check", "hlaf")
    assert result.exit_code == 1
    assert "did you mean 'half'" in result.stderr


def test_check_of_the_built_in_parts(harmony, monkeypatch):
    monkeypatch.setenv("HARMONY_PARTS_PLUGINS", "none")
    catalogue.cache_clear()
    result = harmony("parts", "check")
    catalogue.cache_clear()
    assert result.exit_code == 0, result.output
    first, *rest = result.output.splitlines()
    branches = {
        f"{KINDS[d.kind]}/{d.qualified}"
        for d in BUILT_IN
        if d.kind in ("video_branch", "audio_branch", "denoiser")
    }
    hindered = {line.split(": ")[1] for line in rest}
    assert hindered - {"attention/harmony/triton"} == branches | {
        "data/harmony/clips",
        "guidance/harmony/sum",
    }
    assert ("attention/harmony/triton" in hindered) == bool(backends()["triton"])
    assert (
        first
        == f"{len(BUILT_IN)} parts: all can be used; {len(BUILT_IN) - len(hindered)} of them keep"
        " the contract of their kind"
    )


def test_a_setting_without_a_default_is_marked(harmony, plugins):
    output = harmony("parts", "show", "guidance/cli-outer").output
    assert "inner (must be given)" in output
    known = ", ".join([d.name for d in BUILT_IN if d.kind == "guidance"])
    takes = " ".join(output.split()).partition("takes a part of the kind guidance: ")[2]
    assert takes.startswith(known)
    assert "cli-half, cli-outer" in takes  # and those of whatever else is installed
    assert "# inner = ...  (must be given)" in output


def test_the_doctor_finds_a_broken_plugin(harmony, plugins):
    result = harmony("doctor")
    assert result.exit_code == 1
    assert (
        "broken  parts       plugin broken (cli-broken 0.3): can't be imported: ModuleNotFoundError"
        in result.output
    )
    assert "HARMONY_PARTS_PLUGINS" in result.output
    assert "1 thing broken" in result.output


@pytest.mark.parametrize(
    "words",
    [("parts", "list"), ("explain", "demo"), ("parts", "show", "guidance/cfg"), ("--version",)],
)
def test_a_broken_plugin_stops_no_other_command(harmony, plugins, words):
    result = harmony(*words)
    assert result.exit_code == 0, result.output
