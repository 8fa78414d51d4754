"""The settings of a recipe that take a part, and the snippets that can be pasted there."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import attrs
import pytest

from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.declared import Declared
from harmony_parts.assembly.kinds import KINDS
from harmony_parts.assembly.places import NAME, kinds_in, name, places, settings, snippet
from harmony_parts.assembly.read import read_recipe, shipped_recipes
from harmony_parts.encoders.byte_text import ByteText
from harmony_parts.errors import AssemblyError

BUILT_IN = Catalogue.discover(only=[]).list()


def paste(table: Any, piece: Any) -> None:
    """Put the part of a snippet into a recipe's table, replacing the previous one."""
    for key, inner in piece.items():
        if not isinstance(inner, dict) or "use" in inner or not isinstance(table.get(key), dict):
            table[key] = inner
        else:
            paste(table[key], inner)


@pytest.mark.parametrize("declared", BUILT_IN, ids=lambda d: f"{KINDS[d.kind]}/{d.name}")
def test_the_snippet_can_be_pasted(declared: Declared) -> None:
    """Into a shipped recipe: the part at the snippet's path then has its defaults.

    If a setting is required, the snippet says so.
    """
    known = catalogue()
    text = snippet(declared, known)
    piece = tomllib.loads(text)
    table = tomllib.loads(shipped_recipes()["demo"].read_text())
    if declared.kind == "reference":
        table["data"] = {"use": "clips"}  # the data that takes one
    paste(table, piece)
    if missing := re.findall(r"# (\w+) = \.\.\.  \(required\)", text):
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


def test_every_kind_fits_a_setting_of_a_recipe() -> None:
    assert {place.kind for place in places(catalogue())} == set(KINDS)


def test_a_name_or_a_class_in_place_of_a_part_is_refused_where_it_is_given() -> None:
    """In Python, for every setting of a built-in part that takes parts; its own texts are kept."""
    known, tried = Catalogue.discover(only=[]), 0
    for declared in BUILT_IN:
        cls = known.load_declared(declared)
        for field in settings(cls):
            for steps, kind in kinds_in(field.type):
                protocol = KINDS[kind].protocol.partition(":")[2]
                takes = rf"{cls.__name__}\.{name(field)} takes a part \({protocol}\), not the "
                for wrong, what in (("name", "name 'name'"), (ByteText, "class ByteText: make")):
                    given: Any = (wrong,) if steps == ("[]",) else wrong
                    with pytest.raises(TypeError, match=takes + what):
                        cls(**{name(field): given})
                tried += 1
    assert tried > 20
    assert ByteText(field="sound").field == "sound"
    with pytest.raises(ValueError, match=r"^'field' must be in \(.*\) \(got 'captoin'\)$"):
        ByteText(field="captoin")
    with pytest.raises(TypeError, match=r"encoders takes a part \(EncoderSpec\), not the class"):
        attrs.evolve(read_recipe("demo"), encoders={"mood": ByteText})
