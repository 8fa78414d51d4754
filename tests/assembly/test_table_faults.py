"""Every fault of a table is reported with its path, its cause and a remedy."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from helpers.toy_parts import TINY, Plugin, with_toys
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.assembly.tables import structure, unstructure
from harmony_parts.errors import AssemblyError

TOYS = with_toys()
EXPANDED = unstructure(read_recipe(TINY, parts=TOYS), parts=TOYS)
Place = tuple[str, tuple[Any, ...]]  # `$.path`, and the keys that lead there


def faults(table: Any) -> tuple[str, ...]:
    """The faults of a recipe's table."""
    with pytest.raises(AssemblyError) as caught:
        structure(table, Recipe, parts=TOYS)
    return caught.value.faults


def _tables(value: Any, path: str = "$", keys: tuple[Any, ...] = ()) -> list[Place]:
    """All tables inside a table, the outermost included."""
    if isinstance(value, dict):
        inner = [t for k, item in value.items() for t in _tables(item, f"{path}.{k}", (*keys, k))]
        return [(path, keys), *inner]
    if isinstance(value, list):
        items = enumerate(value)
        return [t for i, item in items for t in _tables(item, f"{path}[{i}]", (*keys, i))]
    return []


def _leaves(value: Any, path: str = "$", keys: tuple[Any, ...] = ()) -> list[Place]:
    """All plain values inside a table."""
    if isinstance(value, dict):
        return [t for k, item in value.items() for t in _leaves(item, f"{path}.{k}", (*keys, k))]
    if isinstance(value, list):
        items = enumerate(value)
        return [t for i, item in items for t in _leaves(item, f"{path}[{i}]", (*keys, i))]
    return [(path, keys)]


def _put(table: dict[str, Any], keys: tuple[Any, ...], value: Any) -> None:
    for key in keys[:-1]:
        table = table[key]
    table[keys[-1]] = value


@given(st.sets(st.sampled_from(_tables(EXPANDED)), min_size=1, max_size=4))
def test_all_unknown_keys_are_reported_with_their_paths(places):
    """Wherever they are: one fault for each, and no others."""
    table = copy.deepcopy(EXPANDED)
    for _, keys in places:
        # [[]] is no valid value in tables with free names (encoders, ports) either
        _put(table, (*keys, "zzz"), [[]])
    assert sorted(fault.partition(": ")[0] for fault in faults(table)) == sorted(
        f"{path}.zzz" for path, _ in places
    )


@given(st.sampled_from(_leaves(EXPANDED)))
def test_a_value_of_the_wrong_type_is_reported_at_its_path(place):
    """Any setting, replaced by a table."""
    path, keys = place
    table = copy.deepcopy(EXPANDED)
    _put(table, keys, {"zzz": 1})
    (fault,) = faults(table)
    assert fault.startswith(f"{path}: ")


@given(st.sampled_from([(path, keys) for path, keys in _tables(EXPANDED) if keys]))
def test_a_plain_value_in_place_of_a_table_is_reported_at_its_path(place):
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
        "$.task.use: missing: expected the name of a task; available: joint",
    ),
    "number for part": (
        {"codecs": {"audio": 3}},
        "$.codecs.audio: expected an audio-codec (a table with `use`, or a name), not 3",
    ),
    "validator": ({"train": {"batch": 0}}, "$.train.batch: 'batch' must be >= 1: 0"),
    "validator beside a fault": (
        {"train": {"batch": 0, "zzz": 1}},
        "$.train.batch: 'batch' must be >= 1: 0",
    ),
    "validator of the class": (
        {"format": {**TINY["format"], "fps": "-1"}},
        "$.format.fps: fps must be above 0, not -1",
    ),
    "name of a ModuleDict attribute": (
        {"encoders": {"keys": "bytes"}},
        "$.encoders.keys: an encoder can't have this name, which is an attribute of torch.nn.",
    ),
    "path as a name": (
        {"encoders": {"a.b": "bytes"}},
        '$.encoders."a.b": an encoder\'s name consists of letters',
    ),
    "empty name": (
        {"encoders": {"": "bytes"}},
        '$.encoders."": an encoder\'s name consists of letters',
    ),
    "float for int": ({"train": {"steps": 1.5}}, "$.train.steps: expected a whole number, not 1.5"),
    "boolean for int": (
        {"train": {"steps": True}},
        "$.train.steps: expected a whole number, not true",
    ),
    "string for float": ({"train": {"ema": "0.9"}}, "$.train.ema: expected a number, not '0.9'"),
    "string for list": (
        {"data": {"use": "soundstage", "scenes": "ball"}},
        "$.data.scenes: expected a list, not 'ball'",
    ),
    "number for string": ({"name": 3}, "$.name: expected a string, not 3"),
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
    "check of the class": (
        {"encoders": {"c": {"use": "bytes", "width": 6}}},
        "$.encoders.c: ByteText.width must be even and a multiple of heads (4), not 6",
    ),
    "odd name": (
        {"encoders": {"my text": "byte"}},
        "$.encoders.\"my text\".use: there is no encoder called 'byte'",
    ),
    "versions": ({"harmony": 3}, "$.harmony: expected a table"),
}


@pytest.mark.parametrize(("change", "expected"), WRONG.values(), ids=WRONG)
def test_messages_give_path_cause_and_remedy(change, expected):
    """One typical mistake each."""
    table = {
        key: {**value, **change.get(key, {})} if key in ("sample", "codecs") else value
        for key, value in {**change, **TINY}.items()
    }
    table |= {key: value for key, value in change.items() if key not in ("sample", "codecs")}
    with pytest.raises(AssemblyError) as caught:
        read_recipe(table, parts=TOYS)
    assert expected in str(caught.value)


class Misspelt:
    """A plugin whose hook has a wrong name."""

    harmony_gidance = Plugin.harmony_guidance


def test_all_faults_are_reported_at_once_and_failed_plugins_once():
    """In the order of the settings."""
    parts = with_toys()
    parts.add("broken", Misspelt())
    overrides = [
        "sample.steps=0",
        "flow.path.use=bent",
        "flow.density.use=thick",
        "train.drop.caption=2",
        "nam=x",
    ]
    with pytest.raises(AssemblyError) as caught:
        read_recipe(TINY, overrides, parts=parts)
    assert [fault.partition(": ")[0] for fault in caught.value.faults] == [
        "$.nam",
        "$.flow.path.use",
        "$.flow.density.use",
        "$.sample.steps",
        "$.train.drop",
    ]
    assert str(caught.value).count("did you mean 'harmony_guidance'") == 1


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (
            {"vidio": "constant", "audio": "constant"},
            (
                "$.sample.shift.vidio: unknown setting (did you mean 'video'?); StreamShifts has",
                "$.sample.shift.video: missing: expected a shift",
            ),
        ),
        ({"video": "constant"}, ("$.sample.shift.audio: missing: expected a shift",)),
        (
            {"video": "constnt", "audio": {"use": "constant", "shift": 0}},
            (
                "$.sample.shift.video.use: there is no shift called 'constnt' (did you mean",
                "$.sample.shift.audio.shift: 'shift' must be > 0",
            ),
        ),
        ({"shift": 3}, ("$.sample.shift.use: missing: expected the name of a shift",)),
        ({"use": "constant", "video": "constant"}, ("$.sample.shift.video: unknown setting",)),
        (7, ("$.sample.shift: expected a shift or a table, not 7",)),
    ],
)
def test_a_shift_or_a_pair_is_recognized_by_its_keys(shift, expected):
    """The faults are those of the form that is meant."""
    found = faults({**TINY, "sample": {**TINY["sample"], "shift": shift}})
    assert len(found) == len(expected)
    assert all(fault.startswith(start) for fault, start in zip(found, expected, strict=True))
