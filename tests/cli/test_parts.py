"""`harmony parts`: list, show and check, with working and broken plugins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.kinds import KINDS
from harmony_parts.assembly.places import settings
from harmony_parts.attention.rule import backends
from harmony_parts.plugin import hookimpl, part
from harmony_parts.testing.check_parts import broken

BUILT_IN = Catalogue.discover(only=[]).list()

PLUGINS = {
    "half": (
        """
from harmony_parts.plugin import hookimpl, part

@hookimpl
def harmony_guidance():
    yield part("cli-half", "cli_half_parts:Half", summary="Halves the velocity.", source="a test [2024]")
    yield part("cli-outer", "cli_half_parts:Outer", summary="Delegates to another guidance.")
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
    """Halves the velocity."""

    scale: float = knob(0.5, help="factor of the velocity", unit="of it", off=1.0, source="a guess")

    def passes(self, times, state):
        return NoGuidance().passes(times, state)

    def combine(self, preds, times, state):
        return NoGuidance().combine(preds, times, state)[0].map(lambda v: self.scale * v), state

@attrs.frozen
class Outer:
    """Delegates to another guidance."""

    inner: Guidance = knob(help="the other guidance")

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
        raise RuntimeError("not reached")

@attrs.frozen
class Picky:
    def build(self, *, format):
        raise ValueError("pictures must be 1 x 1")
"""
    ),
    "broken": "import a_module_that_is_not_there\n",
}


def install(site: Path, *names: str) -> None:
    """Write modules and metadata as pip installs them."""
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
    """A plugin that works and one that can't be imported."""
    install(tmp_path, "half", "broken")
    monkeypatch.delenv("HARMONY_PARTS_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


def test_the_list_contains_every_part(harmony):
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


def test_the_list_can_be_limited_to_one_kind(harmony):
    output = harmony("parts", "list", "video-codec").output
    assert output.startswith("video-codec\n  dct ")
    assert "log-mel" not in output
    assert harmony("parts", "list", "video_codec").output == output


def test_the_list_can_be_json(harmony):
    result = harmony("parts", "list", "--json")
    found = json.loads(result.stdout)
    assert found.keys() == {"parts", "failures"}
    own = [
        p for p in found["parts"] if p["plugin"] == "harmony"
    ]  # other plugins may be installed here
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


def test_a_setting_that_takes_a_part_is_shown_with_the_parts_that_fit(harmony):
    output = harmony("parts", "show", "guidance/sync-cfg").output
    assert "takes a part of the kind anchor: mute, refresh, static" in output
    assert "video = 3.0\n" in output
    assert "off at 1.0" in output


def test_a_part_is_found_without_its_kind_if_unambiguous(harmony):
    assert (
        harmony("parts", "show", "gldi").output
        == harmony("parts", "show", "interaction/harmony/gldi").output
    )
    result = harmony("parts", "show", "none")
    assert result.exit_code == 1
    assert (
        "interaction/harmony/none or style/harmony/none or guidance/harmony/none" in result.stderr
    )


def test_unknown_parts_and_kinds_get_the_nearest_name(harmony):
    for name, suggestion in (
        ("guidance/synccfg", "'sync-cfg'"),
        ("sync-cgf", "'sync-cfg'"),
        ("guidence/cfg", "'guidance'"),
    ):
        result = harmony("parts", "show", name)
        assert result.exit_code == 1
        assert f"did you mean {suggestion}" in result.stderr


def test_plugins_are_listed_with_their_package_or_the_cause_of_their_failure(harmony, plugins):
    output = harmony("parts", "list").output
    assert "cli-half          Halves the velocity.  (cli-half 0.3)" in output
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


def test_a_part_of_a_plugin_is_shown_like_a_built_in_one(harmony, plugins):
    output = harmony("parts", "show", "guidance/half/cli-half").output
    for piece in (
        "scale = 0.5 of it",
        "off at 1.0",
        "source: a guess",
        "a test [2024]",
        'use = "half/cli-half"',
        "(cli-half 0.3)",
    ):
        assert piece in output


def test_a_guidance_of_a_plugin_is_used_and_set_like_a_built_in_one(
    harmony, plugins, trained, tmp_path
):
    args = ("generate", trained, "--guidance", "half/cli-half", "--device", "cpu")
    result = harmony(*args, "--set", "scale=0.25", "--out", tmp_path / "x.mp4")
    assert result.exit_code == 0, result.output
    result = harmony(*args, "--set", "scael=0.25", "--out", tmp_path / "y.mp4")
    assert result.exit_code == 1
    assert "did you mean 'scale'" in result.stderr


def test_check_reports_broken_plugins_and_parts(harmony, plugins, monkeypatch):
    monkeypatch.setenv("HARMONY_PARTS_PLUGINS", "half,broken")
    result = harmony("parts", "check")
    assert result.exit_code == 1
    assert "plugin broken (cli-broken 0.3)" in result.stderr
    assert "2 faults" in result.stderr, result.stderr


def test_a_name_that_is_declared_twice_is_a_fault() -> None:
    """Both can be imported, but neither can be referred to."""

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
    """`Half` changes the velocity although all passes agree; `Outer` has a required setting."""
    result = harmony("parts", "check", name)
    assert result.exit_code == 1
    assert "guidance half/cli-half (cli-half 0.3): Half(scale=0.5) must" in result.stderr
    assert "broken" not in result.stderr
    assert "1 fault in" in result.stderr


def test_check_lists_parts_that_need_files_or_refuse_the_format(harmony, tmp_path, monkeypatch):
    """Neither counts as a fault; the codec that reads weights is stopped before it does."""
    monkeypatch.delenv("HARMONY_PARTS_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"")
    install(tmp_path, "weighty")
    catalogue.cache_clear()
    result = harmony("parts", "check", "weighty")
    catalogue.cache_clear()
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "2 parts: all can be used; 0 meet the contract of their kind",
        f"  not checked: video-codec/weighty/cli-loads: would read {tmp_path / 'weights.bin'}",
        "  not checked: video-codec/weighty/cli-picky: pictures must be 1 x 1",
    ]


def test_check_of_a_plugin_that_fails_or_does_not_exist(harmony, plugins):
    result = harmony("parts", "check", "broken")
    assert result.exit_code == 1
    assert "No module named 'a_module_that_is_not_there'" in result.stderr
    result = harmony("parts", "check", "hlaf")
    assert result.exit_code == 1
    assert "did you mean 'half'" in result.stderr


def test_check_passes_for_the_built_in_parts(harmony, monkeypatch):
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
        "video-codec/harmony/conv-video",
        "guidance/harmony/sum",
        "reference/harmony/first-of",
        "data/harmony/clips",
        "data/harmony/tars",
        "source/harmony/shards",
        "source/harmony/mix",
        "trainable/harmony/branch",
        "trainable/harmony/lora",
        "callback/harmony/log",
        "callback/harmony/samples",
        "callback/harmony/tensorboard",
    }
    assert ("attention/harmony/triton" in hindered) == bool(backends()["triton"])
    assert (
        first == f"{len(BUILT_IN)} parts: all can be used; {len(BUILT_IN) - len(hindered)} meet"
        " the contract of their kind"
    )


def test_a_setting_without_a_default_is_shown_as_required(harmony, plugins):
    output = harmony("parts", "show", "guidance/cli-outer").output
    assert "inner (required)" in output
    known = ", ".join([d.name for d in BUILT_IN if d.kind == "guidance"])
    takes = " ".join(output.split()).partition("takes a part of the kind guidance: ")[2]
    assert takes.startswith(known)
    assert "cli-half, cli-outer" in takes  # other plugins may be installed here
    assert "# inner = ...  (required)" in output


def test_the_doctor_finds_a_broken_plugin(harmony, plugins):
    result = harmony("doctor")
    assert result.exit_code == 1
    assert (
        "broken  parts       plugin broken (cli-broken 0.3): can't be imported: ModuleNotFoundError"
        in result.output
    )
    assert "HARMONY_PARTS_PLUGINS" in result.output
    assert "1 fault found" in result.output


@pytest.mark.parametrize(
    "words",
    [("parts", "list"), ("explain", "demo"), ("parts", "show", "guidance/cfg"), ("--version",)],
)
def test_a_broken_plugin_affects_no_other_command(harmony, plugins, words):
    result = harmony(*words)
    assert result.exit_code == 0, result.output
