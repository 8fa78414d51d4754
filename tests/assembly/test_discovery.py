"""Installed plugins are found; broken ones are recorded and don't affect the others."""

from __future__ import annotations

import pytest
from helpers.toy_parts import Everything, Plugin

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.discovery import HOOKS
from harmony_parts.errors import UnknownPart

FINE = """
@hookimpl
def harmony_guidance():
    yield part("calm", "helpers.toy_parts:Everything", summary="Fine.")
"""


def test_installed_plugins_are_found(install):
    """By their bare and qualified names, with their package and version."""
    install("calm-one", FINE, distribution="harmony-calm", version="3.4", module="plug_calm")
    parts = Catalogue.discover()
    found = parts.find("guidance", "calm")
    assert found == parts.find("guidance", "calm-one/calm")
    assert (found.plugin, found.distribution, found.version) == ("calm-one", "harmony-calm", "3.4")
    assert parts.load("guidance", "calm") is Everything
    assert parts.distributions([found]) == {"calm-one": "harmony-calm 3.4"}


@pytest.mark.parametrize(
    ("limit", "found"),
    [("none", []), ("one", ["one"]), ("one, two", ["one", "two"]), ("", ["one", "two"])],
)
def test_the_environment_limits_what_is_loaded(install, monkeypatch, limit, found):
    """HARMONY_PARTS_PLUGINS: plugins that it doesn't name aren't imported."""
    for name in ("one", "two"):
        install(name, FINE)
    monkeypatch.setenv("HARMONY_PARTS_PLUGINS", limit)
    parts = Catalogue.discover()
    here = {d.plugin for d in parts.list("guidance")}
    assert [
        name for name in ("one", "two") if name in here
    ] == found  # other plugins may be installed here
    assert parts.failures == ()


def test_a_requested_plugin_that_is_not_installed_is_a_failure(monkeypatch):
    """A misspelt name in HARMONY_PARTS_PLUGINS is reported."""
    monkeypatch.setenv("HARMONY_PARTS_PLUGINS", "nobody")
    assert [f.plugin for f in Catalogue.discover().failures] == ["nobody"]


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
def test_a_broken_plugin_is_recorded_and_does_not_affect_others(install, source, cause):
    """Its package, version and cause are in `failures` and in errors that it might explain."""
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


def test_a_plugin_may_state_its_version_of_the_hooks(install):
    """The current version is accepted."""
    install("exact", f"harmony_parts_hooks = {HOOKS}\n" + FINE)
    parts = Catalogue.discover()
    assert parts.failures == ()
    assert parts.find("guidance", "calm").plugin == "exact"


def test_a_slow_plugin_works_and_is_reported(install, monkeypatch, capsys):
    """Afterwards and, if it takes very long, while it is being imported."""
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


def test_an_entry_point_without_its_object_or_with_our_name_fails(install):
    """Each is a failure of only that entry point."""
    install("gone", FINE, target="plug_gone:nothing")
    install("harmony", FINE)
    causes = [str(failure) for failure in Catalogue.discover().failures]
    assert len(causes) == 2
    assert "AttributeError" in causes[0]
    assert "reserved for the built-in parts" in causes[1]


def test_parts_declared_before_a_hook_fails_remain_usable(install):
    """The failure of the hook is recorded."""
    install("half", FINE + "    raise OSError('later')\n")
    parts = Catalogue.discover()
    assert parts.find("guidance", "calm").plugin == "half"
    assert "later" in str(parts.failures[0])


def test_a_plugin_can_be_added_by_hand():
    """Any object with hooks, as in a notebook."""
    parts = Catalogue()
    parts.add("mine", Plugin())
    assert parts.qualified_name(Everything()) == "mine/everything"
    parts.add("No Good", Plugin())
    assert "can't be a plugin's name" in str(parts.failures[0])
