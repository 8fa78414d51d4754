"""Parts are found by name, and ambiguous or unknown names are explained."""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import SimpleNamespace

import attrs
import pytest
from helpers.toy_parts import Everything

from harmony_parts import hookspecs
from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.kinds import KINDS, kind_name
from harmony_parts.errors import BrokenPart, PartNameClash, UnknownPart
from harmony_parts.plugin import PartDeclaration, hookimpl, part

FINE = """
@hookimpl
def harmony_guidance():
    yield part("calm", "helpers.toy_parts:Everything", summary="Fine.")
"""


def test_every_kind_has_a_hook_and_a_built_in_part():
    """The table of kinds, the hook specifications and the built-in parts agree."""
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
def test_built_in_parts_load_and_their_names_lead_back_to_them(declared):
    """Each built-in declaration points to a class that meets the protocol of its kind."""
    parts = catalogue()
    loaded = parts.load(declared.kind, declared.qualified)
    assert parts.qualified_name(loaded, declared.kind) == declared.qualified
    assert declared.declaration.summary.endswith(".")


@pytest.mark.parametrize("declared", Catalogue.discover(only=()).list(), ids=str)
def test_every_setting_has_a_help_without_final_period(declared):
    """As shown by `harmony parts show`: a phrase, not a sentence."""
    for field in attrs.fields(catalogue().load_declared(declared)):
        if field.init:
            assert field.metadata["help"]
            assert not field.metadata["help"].endswith(".")


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_each_hook_is_a_plugin(kind):
    """The example in a hook's docstring can be pasted into a plugin."""
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
    """Hyphens on the command line and in documents, underscores in Python."""
    assert kind_name("video-codec") == kind_name("video_codec") == "video_codec"
    with pytest.raises(UnknownPart, match=r"did you mean 'guidance'"):
        kind_name("gidance")


def test_an_ambiguous_name_is_an_error_on_use_that_gives_both_qualified_names(install):
    """No part takes precedence, not even a built-in one; both load by their qualified names."""
    install("rival", FINE.replace("calm", "cfg"))
    parts = Catalogue.discover()
    with pytest.raises(PartNameClash, match=r"write 'harmony/cfg' or 'rival/cfg'"):
        parts.find("guidance", "cfg")
    assert parts.load("guidance", "rival/cfg") is Everything
    assert parts.load("guidance", "harmony/cfg") is not Everything
    assert parts.find("guidance", "sync-cfg").plugin == "harmony"


def test_a_name_that_one_plugin_declares_twice_is_an_error_on_use(install):
    """The error gives both targets."""
    install("twice", FINE + '    yield part("calm", "helpers.toy_parts:Size", summary="Again.")\n')
    with pytest.raises(
        PartNameClash,
        match=r"'twice/calm' is declared 2 times.*toy_parts:Everything.*toy_parts:Size",
    ):
        Catalogue.discover().find("guidance", "calm")


def test_two_packages_may_share_an_entry_point_name(install):
    """Only the part names that both declare are ambiguous; the error gives both packages."""
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


def test_an_unknown_part_gets_the_nearest_name():
    """Bare or qualified, as it was requested."""
    parts = Catalogue.discover(only=())
    for wrong, right in (("sync-cgf", "sync-cfg"), ("harmony/sync-cgf", "harmony/sync-cfg")):
        with pytest.raises(UnknownPart, match=f"did you mean '{right}'.*harmony/none"):
            parts.find("guidance", wrong)


def test_an_undeclared_class_has_no_name():
    """It can be used from Python, but not written to a recipe."""
    with pytest.raises(
        UnknownPart,
        match=r"no plugin declares helpers\.toy_parts:Everything as guidance.*catalogue\(\)\.add\(",
    ):
        Catalogue.discover(only=()).qualified_name(Everything(), "guidance")


def test_a_target_may_name_a_class_through_a_module_that_imports_it(install):
    """`qualified_name` still finds the declaration of the class."""
    install(
        "alias",
        "from helpers.toy_parts import Everything\n"
        + FINE.replace("helpers.toy_parts:", "plug_alias:"),
    )
    parts = Catalogue.discover()
    parts.load("guidance", "calm")
    assert parts.qualified_name(Everything) == "alias/calm"


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("no_such_module:It", "No module named 'no_such_module'"),
        ("helpers.toy_parts:Everythin", "has no 'Everythin' .did you mean 'Everything'"),
    ],
)
def test_a_part_whose_class_is_missing_is_listed_but_does_not_load(install, target, cause):
    """BrokenPart is raised on use only."""
    install(
        "lost",
        f"@hookimpl\ndef harmony_guidance():\n    yield part('it', '{target}', summary='S.')\n",
    )
    parts = Catalogue.discover()
    assert parts.find("guidance", "it").declaration == PartDeclaration("it", target, "S.")
    with pytest.raises(BrokenPart, match=cause):
        parts.load("guidance", "it")
