"""Recipes: what is read is what was written, and every fault is told with its place."""

from __future__ import annotations

import copy
import re
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest
import tomli_w
from helpers.toy_parts import TINY, Both, Everything, Size, with_toys
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.assembly.read import read_recipe, shipped_recipes, write_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.assembly.tables import structure, unstructure
from harmony_parts.errors import AssemblyError
from harmony_parts.guidance.protocol import Guidance

TOYS = with_toys()
EXPANDED = unstructure(read_recipe(TINY, parts=TOYS), parts=TOYS)


@attrs.frozen
class Holder:
    """A setting that is a guidance."""

    guidance: Guidance


def faults(table: Any, cls: type = Recipe) -> tuple[str, ...]:
    """What is wrong with a table, one by one."""
    with pytest.raises(AssemblyError) as caught:
        structure(table, cls, parts=TOYS)
    return caught.value.faults


# --- round trips ----------------------------------------------------------------------------------

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
    """structure(TOML(unstructure(x))) = x: no setting is lost, none changes its type."""
    table = unstructure(Holder(part), parts=TOYS)
    assert structure(tomllib.loads(tomli_w.dumps(table)), Holder, parts=TOYS) == Holder(part)


@pytest.mark.parametrize("declared", TOYS.list(), ids=str)
def test_each_part_with_its_defaults_survives_toml(declared):
    """Every built-in part that can be made without settings; and each of its settings is
    written.
    """
    cls = TOYS.load_declared(declared)
    if any(a.default is attrs.NOTHING for a in attrs.fields(cls)):
        pytest.skip("has settings without defaults")
    table = unstructure(cls(), parts=TOYS, kind=declared.kind)
    assert table.pop("use") == declared.qualified
    assert set(table) == {a.alias for a in attrs.fields(cls) if getattr(cls(), a.name) is not None}
    assert structure(tomllib.loads(tomli_w.dumps(table)), cls, parts=TOYS) == cls()


def test_a_recipe_survives_writing():
    """Reading what was written gives the same recipe and the same text; names are qualified,
    versions noted and not needed.
    """
    recipe = read_recipe(TINY, parts=TOYS)
    text = write_recipe(recipe, parts=TOYS)
    table = tomllib.loads(text)
    assert read_recipe(table, parts=TOYS) == recipe
    assert write_recipe(read_recipe(table, parts=TOYS), parts=TOYS) == text
    assert table["codecs"]["video"]["use"] == "harmony/dct"
    assert table["format"]["fps"] == "25/2"
    assert table["harmony"]["version"]
    assert table["sample"]["guidance"]["mute"]["use"] == "harmony/mute"
    del table["harmony"]
    assert read_recipe(table, parts=TOYS) == recipe


def test_a_recipe_made_in_python_is_the_same():
    """Parts inside a table may be instances, and a whole recipe may be one."""
    made = structure(
        {
            **TINY,
            "sample": {"guidance": Everything(count=7), "solver": "euler", "shift": "constant"},
        },
        Recipe,
        parts=TOYS,
    )
    assert made.sample.guidance == Everything(count=7)
    assert attrs.evolve(read_recipe(TINY, parts=TOYS), sample=made.sample) == made
    assert faults({**TINY, "task": Everything()}) == (
        "$.task: Everything is no task: it has no plan(n, draw, generator)",
    )


def test_plugins_are_noted_with_their_versions():
    """For whoever reads the recipe without them."""
    parts = with_toys()
    parts.add("outside", _Outside(), distribution="harmony-outside", version="4.5")
    recipe = read_recipe(TINY, ["sample.guidance.use=outside/everything"], parts=parts)
    text = write_recipe(recipe, parts=parts)
    assert tomllib.loads(text)["harmony"]["plugins"] == {"outside": "harmony-outside 4.5"}
    with pytest.raises(
        AssemblyError,
        match=r"\$\.harmony\.plugins\.outside: the recipe was written with harmony-outside 4\.5",
    ):
        read_recipe(tomllib.loads(text), parts=TOYS)


class _Outside:
    from helpers.toy_parts import Plugin

    harmony_guidance = Plugin.harmony_guidance


def test_what_cannot_be_written_is_told():
    """A class that no plugin declares, and a value that TOML can't hold."""

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
def test_fractions(value):
    """As text or as a number; of a float, what is written counts."""
    assert structure({"use": "everything", "rate": value}, Guidance, parts=TOYS).rate == Fraction(
        str(value)
    )


# --- faults ---------------------------------------------------------------------------------------


def _tables(
    value: Any, path: str = "$", keys: tuple[Any, ...] = ()
) -> list[tuple[str, tuple[Any, ...]]]:
    """All tables inside a table: how each is called, and the way there."""
    if isinstance(value, dict):
        inner = [
            t for key, item in value.items() for t in _tables(item, f"{path}.{key}", (*keys, key))
        ]
        return [(path, keys), *inner]
    if isinstance(value, list):
        return [
            t for i, item in enumerate(value) for t in _tables(item, f"{path}[{i}]", (*keys, i))
        ]
    return []


def _leaves(
    value: Any, path: str = "$", keys: tuple[Any, ...] = ()
) -> list[tuple[str, tuple[Any, ...]]]:
    """All plain values inside a table."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [
            t
            for k, item in items
            for t in _leaves(
                item, f"{path}.{k}" if isinstance(k, str) else f"{path}[{k}]", (*keys, k)
            )
        ]
    return [(path, keys)]


def _put(table: dict[str, Any], keys: tuple[Any, ...], value: Any) -> None:
    for key in keys[:-1]:
        table = table[key]
    table[keys[-1]] = value


@given(st.sets(st.sampled_from(_tables(EXPANDED)), min_size=1, max_size=4))
def test_unknown_keys_anywhere_are_all_told_with_their_paths(places):
    """One fault for each, at its own path, and no other."""
    table = copy.deepcopy(EXPANDED)
    for _, keys in places:
        # in a table with free names (encoders, ports), no value of theirs either
        _put(table, (*keys, "zzz"), [[]])
    told = faults(table)
    assert sorted(fault.partition(": ")[0] for fault in told) == sorted(
        f"{path}.zzz" for path, _ in places
    )


@given(st.sampled_from(_leaves(EXPANDED)))
def test_a_value_of_the_wrong_type_is_told_at_its_path(place):
    """Any setting, spoilt: a table where a plain value belongs."""
    path, keys = place
    table = copy.deepcopy(EXPANDED)
    _put(table, keys, {"zzz": 1})
    told = faults(table)
    assert len(told) == 1
    assert told[0].startswith(f"{path}: ")


@given(st.sampled_from([(path, keys) for path, keys in _tables(EXPANDED) if keys]))
def test_a_plain_value_in_place_of_a_table_is_told_at_its_path(place):
    """Any table, replaced by a number."""
    path, keys = place
    table = copy.deepcopy(EXPANDED)
    _put(table, keys, 3)
    assert [fault.partition(": ")[0] for fault in faults(table)] == [path]


WRONG = {
    "unknown setting": (
        {"sample": {"guidance": {"use": "sync-cfg", "vidoe": 3}}},
        "$.sample.guidance.vidoe: unknown setting (did you mean 'video'?)",
    ),
    "unknown part": (
        {"sample": {"solver": "oiler"}},
        "$.sample.solver.use: there is no solver called 'oiler' (did you mean 'euler'?)",
    ),
    "no use": (
        {"task": {"terms": []}},
        "$.task.use: missing: expected the name of a task; there are: joint",
    ),
    "part by number": (
        {"codecs": {"audio": 3}},
        "$.codecs.audio: expected an audio-codec (a table with `use`, or a name), not 3",
    ),
    "validator": ({"train": {"batch": 0}}, "$.train.batch: 'batch' must be >= 1: 0"),
    "validator beside a fault": (
        {"train": {"batch": 0, "zzz": 1}},
        "$.train.batch: 'batch' must be >= 1: 0",
    ),
    "own validator": (
        {"format": {**TINY["format"], "fps": "-1"}},
        "$.format.fps: fps must be above 0, not -1",
    ),
    "module's own name": (
        {"encoders": {"keys": "bytes"}},
        "$.encoders.keys: an encoder can't have this name, which torch.nn.ModuleDict uses",
    ),
    "path as a name": (
        {"encoders": {"a.b": "bytes"}},
        '$.encoders."a.b": an encoder\'s name is made of letters',
    ),
    "no name": (
        {"encoders": {"": "bytes"}},
        '$.encoders."": an encoder\'s name is made of letters',
    ),
    "float for int": ({"train": {"steps": 1.5}}, "$.train.steps: expected a whole number, not 1.5"),
    "bool for int": (
        {"train": {"steps": True}},
        "$.train.steps: expected a whole number, not true",
    ),
    "text for float": ({"train": {"ema": "0.9"}}, "$.train.ema: expected a number, not '0.9'"),
    "text for list": (
        {"data": {"use": "soundstage", "scenes": "ball"}},
        "$.data.scenes: expected a list, not 'ball'",
    ),
    "number for text": ({"name": 3}, "$.name: expected a string, not 3"),
    "fraction": (
        {"format": {**TINY["format"], "fps": "25/0"}},
        "$.format.fps: expected a fraction",
    ),
    "missing": ({"format": {}}, "$.format.fps: missing: expected a fraction"),
    "choice": (
        {"denoiser": {"use": "dual-branch", "driven_interaction": "oneway"}},
        "'oneway' (did you mean 'one_way'?)",
    ),
    "in a list": (
        {"metrics": ["events", {"use": "events", "tolerance": -1}]},
        "$.metrics[1].tolerance: 'tolerance' must be >= 0: -1",
    ),
    "in a list of settings": (
        {"task": {"use": "weighted-sum", "terms": [{"task": "jiont"}]}},
        "$.task.terms[0].task.use: there is no task called 'jiont'",
    ),
    "whole class": (
        {"encoders": {"c": {"use": "bytes", "width": 6}}},
        "$.encoders.c: ByteText.width must be even and a multiple of heads (4), not 6",
    ),
    "odd name": (
        {"encoders": {"my text": "byte"}},
        "$.encoders.\"my text\".use: there is no encoder called 'byte'",
    ),
    "versions": ({"harmony": 3}, "$.harmony: expected a table"),
}


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=WRONG)
def test_what_is_said_about_faults(change, said):
    """Path, cause and remedy."""
    table = {
        key: (
            {**value, **change.get(key, {})}
            if key == "sample" or key == "codecs"
            else change.get(key, value)
        )
        for key, value in TINY.items()
    }
    with pytest.raises(AssemblyError) as caught:
        read_recipe(
            {**table, **{key: value for key, value in change.items() if key not in TINY}},
            parts=TOYS,
        )
    assert said in str(caught.value)


def test_all_faults_are_told_at_once():
    """Wherever they are, and the plugins that failed but once."""
    parts = with_toys()
    parts.add("broken", type("Broken", (), {"harmony_gidance": _Outside.harmony_guidance})())
    with pytest.raises(AssemblyError) as caught:
        read_recipe(
            TINY,
            [
                "sample.steps=0",
                "flow.path.use=bent",
                "flow.density.use=thick",
                "train.drop.caption=2",
                "nam=x",
            ],
            parts=parts,
        )
    assert [fault.partition(": ")[0] for fault in caught.value.faults] == [
        "$.nam",
        "$.flow.path.use",
        "$.flow.density.use",
        "$.sample.steps",
        "$.train.drop",
    ]
    assert str(caught.value).count("did you mean 'harmony_guidance'") == 1


def test_none_is_written_where_leaving_it_out_means_something_else():
    """TOML has no null."""
    table = unstructure(Everything(limit=None), parts=TOYS)
    assert table["limit"] == "none"
    assert "absent" not in table
    assert structure({"use": "everything", "limit": "none"}, Guidance, parts=TOYS).limit is None


def test_generic_settings_take_the_type_that_they_are_given():
    """Both[float] holds numbers."""
    assert structure({"both": {"video": 3}}, Everything, parts=TOYS).both.video == 3.0
    assert faults({"both": {"video": "x"}}, Everything) == (
        "$.both.video: expected a number, not 'x'",
    )
    written = unstructure(Everything(both=Both(audio=2.0)), parts=TOYS)
    assert written["both"] == {"audio": 2.0}


# --- where recipes come from ----------------------------------------------------------------------


def test_a_recipe_is_read_from_a_file(tmp_path):
    """And errors name it."""
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps(TINY), encoding="utf-8")
    assert (
        read_recipe(file, parts=TOYS)
        == read_recipe(str(file), parts=TOYS)
        == read_recipe(TINY, parts=TOYS)
    )
    file.write_text("name = = 3")
    with pytest.raises(
        AssemblyError, match=r"mine\.toml can't be assembled:\n  it isn't TOML: .*line 1"
    ):
        read_recipe(file)


def test_an_unknown_recipe_gets_the_nearest_name():
    """Of those that ship."""
    with pytest.raises(AssemblyError, match="no shipped recipe of that name"):
        read_recipe("no-such-recipe")
    for name in shipped_recipes():
        with pytest.raises(AssemblyError, match=f"did you mean '{name}'"):
            read_recipe(name + "x")


@pytest.mark.parametrize("name", shipped_recipes())
def test_recipes_that_ship_can_be_read_and_written(name):
    """Those that take nothing from plugins; of the others, the plugins are named."""
    wanted = (
        tomllib.loads(shipped_recipes()[name].read_text(encoding="utf-8"))
        .get("harmony", {})
        .get("plugins", {})
    )
    if wanted:
        with pytest.raises(
            AssemblyError, match="|".join(wanted.values()).replace("(", r"\(").replace(")", r"\)")
        ):
            read_recipe(name)
        return
    recipe = read_recipe(name)
    assert read_recipe(tomllib.loads(write_recipe(recipe))) == recipe


def test_a_part_of_the_installed_catalogue_is_found_without_naming_one():
    """The default catalogue is that of the process."""
    assert read_recipe(TINY) == structure(TINY, Recipe, parts=catalogue())


def test_a_folder_given_as_a_recipe_names_the_recipe_in_it(tmp_path: Path) -> None:
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    (model / "recipe.toml").write_text("")
    for folder in (tmp_path / "run", model):
        with pytest.raises(
            AssemblyError, match=re.escape(f"its recipe is {str(model / 'recipe.toml')!r}")
        ):
            read_recipe(str(folder))
