"""Discovery: names, ambiguity, and plugins that are broken in every way that we could think of."""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import SimpleNamespace

import pytest
from helpers.toy_parts import Everything, Plugin

from harmony_parts import hookspecs
from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.discovery import HOOKS
from harmony_parts.assembly.kinds import KINDS, kind_name
from harmony_parts.errors import BrokenPart, PartContractError, PartNameClash, UnknownPart
from harmony_parts.plugin import PartDeclaration, hookimpl, part

FINE = """
@hookimpl
def harmony_guidance():
    yield part("calm", "helpers.toy_parts:Everything", summary="Fine.")
"""


# --- the built-in parts ---------------------------------------------------------------------------


def test_every_kind_has_a_hook_and_a_built_in_part():
    """The table of kinds, the hook specifications and what ships agree."""
    hooks = {
        name
        for name, _ in inspect.getmembers(hookspecs, inspect.isfunction)
        if name.startswith("harmony_")
    }
    assert hooks == {kind.hook for kind in KINDS.values()}
    built_in = Catalogue.discover(only=())
    assert built_in.failures == ()
    assert {declared.kind for declared in built_in.list()} == set(KINDS)


@pytest.mark.parametrize("declared", Catalogue.discover(only=()).list(), ids=str)
def test_built_in_parts_load_and_know_their_names(declared):
    """Each built-in declaration points to a class that keeps its protocol, and whose name leads
    back to it.
    """
    parts = catalogue()
    loaded = parts.load(declared.kind, declared.qualified)
    assert parts.qualified_name(loaded, declared.kind) == declared.qualified
    assert declared.declaration.summary.endswith(".")


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_each_hook_is_a_plugin(kind):
    """What a hook's documentation shows can be pasted."""
    documentation = inspect.getdoc(getattr(hookspecs, KINDS[kind].hook))
    example = textwrap.dedent(
        "\n".join(
            line for line in documentation.splitlines() if line.startswith("    ") or not line
        )
    ).strip()
    assert isinstance(ast.parse(example).body[0], ast.FunctionDef)
    scope = {"hookimpl": hookimpl, "part": part}
    exec(example, scope)
    parts = Catalogue()
    parts.add("example", SimpleNamespace(**{KINDS[kind].hook: scope[KINDS[kind].hook]}))
    assert parts.failures == ()
    assert [declared.kind for declared in parts.list()] == [kind]


def test_kinds_have_two_spellings():
    """Hyphens for people, underscores for Python."""
    assert kind_name("video-codec") == kind_name("video_codec") == "video_codec"
    with pytest.raises(UnknownPart, match=r"did you mean 'guidance'"):
        kind_name("gidance")


# --- names ----------------------------------------------------------------------------------------


def test_installed_plugins_are_found(install):
    """By both names, with where they come from."""
    install("calm-one", FINE, distribution="harmony-calm", version="3.4", module="plug_calm")
    parts = Catalogue.discover()
    found = parts.find("guidance", "calm")
    assert found == parts.find("guidance", "calm-one/calm")
    assert (found.plugin, found.distribution, found.version) == ("calm-one", "harmony-calm", "3.4")
    assert parts.load("guidance", "calm") is Everything
    assert parts.distributions([found]) == {"calm-one": "harmony-calm 3.4"}


def test_ambiguity_is_an_error_on_use_that_names_both_spellings(install):
    """Neither the built-in part nor the first one wins; both stay within reach."""
    install("rival", FINE.replace("calm", "cfg"))
    parts = Catalogue.discover()
    with pytest.raises(PartNameClash, match=r"write 'harmony/cfg' or 'rival/cfg'"):
        parts.find("guidance", "cfg")
    assert parts.load("guidance", "rival/cfg") is Everything
    assert parts.load("guidance", "harmony/cfg") is not Everything
    assert parts.find("guidance", "sync-cfg").plugin == "harmony"


def test_a_name_declared_twice_by_one_plugin(install):
    """No silent choice here either."""
    install("twice", FINE + '    yield part("calm", "helpers.toy_parts:Size", summary="Again.")\n')
    with pytest.raises(
        PartNameClash,
        match=r"'twice/calm' is declared 2 times.*toy_parts:Everything.*toy_parts:Size",
    ):
        Catalogue.discover().find("guidance", "calm")


def test_two_packages_with_one_entry_point_name(install):
    """The names that both use are ambiguous, and the error says which packages they are of; the
    others work.
    """
    install("same", FINE, distribution="harmony-a", module="plug_a")
    install(
        "same",
        FINE + '    yield part("mine", "helpers.toy_parts:Everything", summary="Mine.")\n',
        distribution="harmony-b",
        module="plug_b",
    )
    parts = Catalogue.discover()
    with pytest.raises(PartNameClash, match=r"harmony-a 1.2.*harmony-b 1.2"):
        parts.find("guidance", "same/calm")
    assert parts.find("guidance", "mine").distribution == "harmony-b"


def test_unknown_parts_get_the_nearest_name():
    """With and without the plugin's name."""
    parts = Catalogue.discover(only=())
    for wrong, right in (("sync-cgf", "sync-cfg"), ("harmony/sync-cgf", "harmony/sync-cfg")):
        with pytest.raises(UnknownPart, match=f"did you mean '{right}'.*harmony/none"):
            parts.find("guidance", wrong)


def test_a_class_that_nobody_declares_has_no_name():
    """It can be used from Python, but not written down."""
    with pytest.raises(
        UnknownPart, match=r"no plugin declares helpers\.toy_parts:Everything as guidance"
    ):
        Catalogue.discover(only=()).qualified_name(Everything(), "guidance")


def test_a_target_may_name_a_class_by_another_module(install):
    """The class knows where it was made, the declaration where it is offered."""
    install(
        "alias",
        "from helpers.toy_parts import Everything\n"
        + FINE.replace("helpers.toy_parts:", "plug_alias:"),
    )
    parts = Catalogue.discover()
    parts.load("guidance", "calm")
    assert parts.qualified_name(Everything) == "alias/calm"


@pytest.mark.parametrize(
    ("limit", "found"),
    [("none", []), ("one", ["one"]), ("one, two", ["one", "two"]), ("", ["one", "two"])],
)
def test_the_environment_limits_what_is_loaded(install, monkeypatch, limit, found):
    """HARMONY_PARTS_PLUGINS; what isn't asked for isn't even imported."""
    for name in ("one", "two"):
        install(name, FINE)
    monkeypatch.setenv("HARMONY_PARTS_PLUGINS", limit)
    parts = Catalogue.discover()
    here = {d.plugin for d in parts.list("guidance")}
    assert [name for name in ("one", "two") if name in here] == found  # whatever else is installed
    assert parts.failures == ()


def test_asking_for_a_plugin_that_is_not_installed_is_told(monkeypatch):
    """A misspelt name in HARMONY_PARTS_PLUGINS doesn't go unseen."""
    monkeypatch.setenv("HARMONY_PARTS_PLUGINS", "nobody")
    assert [f.plugin for f in Catalogue.discover().failures] == ["nobody"]


# --- broken plugins -------------------------------------------------------------------------------

BROKEN = {
    "import": (
        "import nothing_of_that_name\n",
        "ModuleNotFoundError: No module named 'nothing_of_that_name'",
    ),
    "syntax": ("def (:\n", "SyntaxError"),
    "exit": ("raise SystemExit(3)\n", "SystemExit: 3"),
    "hook raises": (
        "@hookimpl\ndef harmony_guidance():\n    raise OSError('no disk')\n",
        "harmony_guidance fails: OSError: no disk",
    ),
    "returns a number": (
        "@hookimpl\ndef harmony_guidance():\n    return 3\n",
        "harmony_guidance fails: TypeError",
    ),
    "yields a tuple": (
        "@hookimpl\ndef harmony_guidance():\n    yield ('x', 'y:Z')\n",
        "which is not a declaration",
    ),
    "name": (
        "@hookimpl\ndef harmony_guidance():\n    yield part('No Good', 'y:Z', summary='S.')\n",
        "the name 'No Good'",
    ),
    "slash": (
        "@hookimpl\ndef harmony_guidance():\n    yield part('a/b', 'y:Z', summary='S.')\n",
        "the name 'a/b'",
    ),
    "target": (
        "@hookimpl\ndef harmony_guidance():\n    yield part('x', 'y.Z', summary='S.')\n",
        "the target 'y.Z'",
    ),
    "summary": (
        "@hookimpl\ndef harmony_guidance():\n    yield part('x', 'y:Z', summary=' ')\n",
        "no summary for 'x'",
    ),
    "types": (
        "@hookimpl\ndef harmony_guidance():\n    yield part(7, b'y:Z', summary=None)\n",
        "the name 7",
    ),
    "source": (
        (
            "@hookimpl\ndef harmony_guidance():\n    yield part('x', 'y:Z', summary='S.',"
            " source=2024)\n"
        ),
        "the source 2024",
    ),
    "newer hooks": ("harmony_parts_hooks = 2\n" + FINE, "written for version 2 of the hooks"),
    "no version": ("harmony_parts_hooks = 'new'\n" + FINE, "version 'new' of the hooks"),
    "misspelt": (
        "@hookimpl\ndef harmony_guidence():\n    yield part('x', 'y:Z', summary='S.')\n",
        "did you mean 'harmony_guidance'",
    ),
    "arguments": (
        "@hookimpl\ndef harmony_guidance(x):\n    yield part('x', 'y:Z', summary='S.')\n",
        "can not be found in the hookspec",
    ),
    "no decorator": (
        "def harmony_guidance():\n    yield part('x', 'y:Z', summary='S.')\n",
        "lacks the decorator @hookimpl",
    ),
}


@pytest.mark.parametrize(("source", "cause"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_remembered_and_harms_no_other(install, source, cause):
    """Its package, version and cause are in `failures`, and in the errors that it may have
    caused.
    """
    install("bad", source, distribution="harmony-bad", version="0.9")
    install("good", FINE)
    parts = Catalogue.discover()
    assert parts.find("guidance", "calm").plugin == "good"
    (failure,) = parts.failures
    assert str(failure).startswith("bad (harmony-bad 0.9): ")
    assert cause in str(failure)
    with pytest.raises(UnknownPart) as caught:
        parts.find("guidance", "bad/x")
    assert str(failure) in str(caught.value)


def test_a_plugin_may_say_which_hooks_it_is_written_for(install):
    """The version that there is."""
    install("exact", f"harmony_parts_hooks = {HOOKS}\n" + FINE)
    parts = Catalogue.discover()
    assert parts.failures == ()
    assert parts.find("guidance", "calm").plugin == "exact"


def test_a_slow_plugin_works_and_is_named(install, monkeypatch, capsys):
    """Afterwards, and, where it takes long, while everybody waits."""
    monkeypatch.setattr("harmony_parts.assembly.discovery.SLOW", 0.2)
    monkeypatch.setattr("harmony_parts.assembly.discovery.STUCK", 0.1)
    install(
        "lazy", "import time\ntime.sleep(0.3)\n" + FINE, distribution="harmony-lazy", version="2.0"
    )
    install("quick", FINE.replace("calm", "brisk"))
    parts = Catalogue.discover()
    assert parts.find("guidance", "calm").plugin == "lazy"
    assert parts.failures == ()
    (slow,) = parts.slow
    assert str(slow).startswith("lazy (harmony-lazy 2.0): takes 0.")
    assert "waiting for the plugin lazy (harmony-lazy 2.0)" in capsys.readouterr().err


def test_an_entry_point_may_miss_its_object_or_take_our_name(install):
    """Both are failures of that entry point alone."""
    install("gone", FINE, target="plug_gone:nothing")
    install("harmony", FINE)
    causes = [str(failure) for failure in Catalogue.discover().failures]
    assert len(causes) == 2
    assert "AttributeError" in causes[0]
    assert "reserved for the built-in parts" in causes[1]


def test_what_a_plugin_declared_before_it_failed_stays(install):
    """A hook that breaks in the middle, beside a hook that works."""
    install("half", FINE + "    raise OSError('later')\n")
    parts = Catalogue.discover()
    assert parts.find("guidance", "calm").plugin == "half"
    assert "later" in str(parts.failures[0])


def test_a_plugin_can_be_added_by_hand():
    """For a notebook: any object with hooks."""
    parts = Catalogue()
    parts.add("mine", Plugin())
    assert parts.qualified_name(Everything()) == "mine/everything"
    parts.add("No Good", Plugin())
    assert "can't be a plugin's name" in str(parts.failures[0])


# --- parts that aren't what they claim ------------------------------------------------------------

SPECS = """
import attrs
@attrs.frozen
class NoCombine:
    def passes(self, times, state): ...
@attrs.frozen
class FewArguments(NoCombine):
    def combine(self, preds, times): ...
@attrs.frozen
class MoreArguments(NoCombine):
    def combine(self, preds, times, state, extra): ...
@attrs.frozen
class Use(NoCombine):
    use: str = ""
    def combine(self, preds, times, state): ...
@attrs.frozen
class Optional(NoCombine):
    def combine(self, *arguments, **more): ...
def function(): ...
@attrs.frozen
class NoStream:
    from_estimate = False
    def latents(self, scene): ...
@attrs.frozen
class WrongNeighbours:
    def build(self, *, codecs): ...
@attrs.frozen
class RightNeighbours:
    def build(self, **neighbours): ...
"""


def _load(install, kind, target):
    install(
        "spec",
        SPECS + f"@hookimpl\ndef harmony_{kind}():\n    yield part('it', 'plug_spec:{target}',"
        " summary='S.')\n",
    )
    return Catalogue.discover().load(kind, "it")


@pytest.mark.parametrize(
    ("kind", "target", "cause"),
    [
        ("guidance", "NoCombine", "it has no combine(preds, times, state)"),
        ("guidance", "FewArguments", "combine(preds, times) can't be called"),
        ("guidance", "MoreArguments", "combine(preds, times, state, extra) can't be called"),
        ("guidance", "Use", "a setting can't be called 'use'"),
        ("guidance", "function", "it is a function, not a class"),
        ("anchor", "NoStream", "it has no 'stream'"),
        ("encoder", "WrongNeighbours", "the protocol is build(*, format, codecs)"),
    ],
)
def test_a_part_that_breaks_its_contract_is_told_why(install, kind, target, cause):
    """By names and signatures, before anything runs."""
    with pytest.raises(PartContractError) as caught:
        _load(install, kind, target)
    assert cause in str(caught.value)
    assert "harmony-spec 1.2" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "target"), [("guidance", "Optional"), ("encoder", "RightNeighbours")]
)
def test_a_part_may_accept_more_than_its_contract(install, kind, target):
    """Wider signatures are fine."""
    assert _load(install, kind, target).__name__ == target


def test_a_class_without_settings_by_attrs_is_refused(install):
    """A plain class can't be read from a recipe."""
    install(
        "plain",
        "class Plain: ...\n@hookimpl\ndef harmony_guidance():\n    yield part('it',"
        " 'plug_plain:Plain', summary='S.')\n",
    )
    with pytest.raises(PartContractError, match=r"decorate it with @attrs\.frozen"):
        Catalogue.discover().load("guidance", "it")


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("no_such_module:It", "No module named 'no_such_module'"),
        ("helpers.toy_parts:Everythin", "has no 'Everythin' .did you mean 'Everything'"),
    ],
)
def test_a_part_whose_code_is_missing(install, target, cause):
    """BrokenPart, on use only: it can still be listed."""
    install(
        "lost",
        f"@hookimpl\ndef harmony_guidance():\n    yield part('it', '{target}', summary='S.')\n",
    )
    parts = Catalogue.discover()
    assert parts.find("guidance", "it").declaration == PartDeclaration("it", target, "S.")
    with pytest.raises(BrokenPart, match=cause):
        parts.load("guidance", "it")
