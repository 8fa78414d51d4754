"""Settings survive the way to a plain table and back."""

from __future__ import annotations

import tomllib
from fractions import Fraction
from typing import Any

import attrs
import pytest
import tomli_w
from helpers.toy_parts import TINY, Both, Everything, Size, with_toys
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.assembly.tables import structure, unstructure
from harmony_parts.errors import AssemblyError
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.guidance.protocol import Guidance

TOYS = with_toys()


@attrs.frozen
class Holder:
    """A class whose only setting is a guidance."""

    guidance: Guidance


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
texts = st.text(st.characters(codec="utf-8"), max_size=8)


def _everything(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Everything]:
    return st.builds(
        Everything,
        scale=st.floats(0, 1e9),
        count=st.integers(0, 2**63 - 1),
        label=texts,
        on=st.booleans(),
        rate=st.fractions(),
        mode=st.sampled_from(["a", "b"]),
        numbers=st.lists(numbers, max_size=3).map(tuple),
        pair=st.tuples(st.integers(), texts),
        weights=st.dictionaries(texts, numbers, max_size=3),
        names=st.frozensets(texts, max_size=3),
        both=st.builds(Both, st.none() | numbers, st.none() | numbers),
        size=st.builds(Size, width=st.integers(), height=st.integers()),
        either=st.integers() | texts,
        limit=st.none() | st.integers(),
        absent=st.none() | numbers,
        inner=st.none() | inner,
        others=st.lists(inner, max_size=2).map(tuple),
        named=st.dictionaries(texts, inner, max_size=2),
    )


@given(st.recursive(_everything(st.nothing() | st.just(Everything())), _everything, max_leaves=4))
def test_settings_of_every_form_survive_toml(part):
    """structure(TOML(unstructure(x))) = x: no setting is lost and none changes its type."""
    table = unstructure(Holder(part), parts=TOYS)
    assert structure(tomllib.loads(tomli_w.dumps(table)), Holder, parts=TOYS) == Holder(part)


@pytest.mark.parametrize("declared", TOYS.list(), ids=str)
def test_each_part_with_its_defaults_survives_toml(declared):
    """For every built-in part without required settings; each of its settings is written."""
    cls = TOYS.load_declared(declared)
    if any(a.default is attrs.NOTHING for a in attrs.fields(cls)):
        pytest.skip("has settings without defaults")
    table = unstructure(cls(), parts=TOYS, kind=declared.kind)
    assert table.pop("use") == declared.qualified
    written = {a.alias for a in attrs.fields(cls) if a.init and getattr(cls(), a.name) is not None}
    assert set(table) == written
    assert structure(tomllib.loads(tomli_w.dumps(table)), cls, parts=TOYS) == cls()


def test_instances_are_accepted_inside_tables():
    """A part made in Python can be a value of a table, if it meets its kind's protocol."""
    sample = {"guidance": Everything(count=7), "solver": "euler", "shift": "constant"}
    made = structure({**TINY, "sample": sample}, Recipe, parts=TOYS)
    assert made.sample.guidance == Everything(count=7)
    assert attrs.evolve(read_recipe(TINY, parts=TOYS), sample=made.sample) == made
    with pytest.raises(AssemblyError) as caught:
        structure({**TINY, "task": Everything()}, Recipe, parts=TOYS)
    assert caught.value.faults == (
        "$.task: Everything is not a task: it has no plan(n, draw, generator, latents)",
    )


@pytest.mark.parametrize("where", ["flow", "sample"])
def test_a_shift_may_be_one_for_each_stream(where):
    """The pair is a table of two parts; a single shift is written as it was before pairs."""
    pair = {"video": {"use": "constant", "shift": 12}, "audio": "constant"}
    recipe = read_recipe({**TINY, where: {**TINY[where], "shift": pair}}, parts=TOYS)
    assert getattr(recipe, where).shift == StreamShifts(ConstantShift(12.0), ConstantShift(5.0))
    table = unstructure(recipe, parts=TOYS)
    assert table[where]["shift"] == {
        "video": {"use": "harmony/constant", "shift": 12.0},
        "audio": {"use": "harmony/constant", "shift": 5.0},
    }
    assert structure(tomllib.loads(tomli_w.dumps(table)), Recipe, parts=TOYS) == recipe
    single = unstructure(read_recipe(TINY, parts=TOYS), parts=TOYS)["sample"]["shift"]
    assert single == {"use": "harmony/constant", "shift": 5.0}


def test_values_that_cannot_be_written_are_refused_with_their_path():
    """A class that no plugin declares, and a value that TOML can't represent."""

    @attrs.frozen
    class Mine(Everything):
        pass

    for value, path in (
        (Mine(), "$.guidance: no plugin declares"),
        (Everything(label=object()), "$.guidance.label: <object"),
    ):
        with pytest.raises(AssemblyError) as caught:
            unstructure(Holder(value), parts=TOYS)
        assert caught.value.faults[0].startswith(path)


@pytest.mark.parametrize("value", ["30000/1001", 25, 29.97, "12.5"])
def test_fractions_are_read_by_their_decimal_digits(value):
    """From a string or a number: 29.97 is 2997/100, not the nearest binary float."""
    assert structure({"use": "everything", "rate": value}, Guidance, parts=TOYS).rate == Fraction(
        str(value)
    )


def test_none_is_written_if_omitting_it_would_mean_the_default():
    """TOML has no null."""
    table = unstructure(Everything(limit=None), parts=TOYS)
    assert table["limit"] == "none"
    assert "absent" not in table
    assert structure({"use": "everything", "limit": "none"}, Guidance, parts=TOYS).limit is None


def test_a_generic_class_checks_its_type_argument():
    """Both[float] holds numbers."""
    assert structure({"both": {"video": 3}}, Everything, parts=TOYS).both.video == 3.0
    with pytest.raises(AssemblyError) as caught:
        structure({"both": {"video": "x"}}, Everything, parts=TOYS)
    assert caught.value.faults == ("$.both.video: expected a number, not 'x'",)
    written = unstructure(Everything(both=Both(audio=2.0)), parts=TOYS)
    assert written["both"] == {"audio": 2.0}
