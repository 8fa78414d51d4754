"""`--set key.path=value`."""

from __future__ import annotations

import pytest
from core_toys import TINY
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.errors import AssemblyError
from harmony_parts.overrides import apply_overrides

CASES = {
    "train.steps=10": {"train": {"drop": {"caption": 0.1}, "steps": 10}},
    "train.drop.caption=0": {"train": {"drop": {"caption": 0}}},
    "name=other": {"name": "other"},
    "name = 'two words'": {"name": "two words"},
    "name=a=b": {"name": "a=b"},
    "name=2026-11-22": {"name": "2026-11-22"},
    "format.fps=30000/1001": {"format": {**TINY["format"], "fps": "30000/1001"}},
    "metrics=[]": {"metrics": []},
    "metrics.1.reach=0.1": {"metrics": ["events", {"use": "correlation", "reach": 0.1}]},
    "metrics.0.tolerance=0.1": {"metrics": [{"use": "events", "tolerance": 0.1}, {"use": "correlation", "reach": 0.4}]},
    # another part: the settings of the old one go
    "metrics.1.use=events": {"metrics": ["events", {"use": "events"}]},
    "flow.shift.use=other/constant": {"flow": {**TINY["flow"], "shift": {"use": "other/constant"}}},
    "flow.shift=constant": {"flow": {**TINY["flow"], "shift": "constant"}},
    # a part by its name alone becomes a table
    "flow.density.mean=1": {"flow": {**TINY["flow"], "density": {"use": "logit-normal", "mean": 1}}},
    "new.table.here=true": {"new": {"table": {"here": True}}},
}


@pytest.mark.parametrize(("override", "change"), CASES.items(), ids=CASES)
def test_an_override_changes_its_own_setting_alone(override, change):
    """And leaves the table that it was given as it was."""
    before = repr(TINY)
    assert apply_overrides(TINY, [override]) == {**TINY, **change}
    assert repr(TINY) == before


def test_overrides_apply_in_order():
    """So that a part can be exchanged and then set."""
    changed = apply_overrides(TINY, ["flow.shift.use=a", "flow.shift.x=1", "flow.shift.use=b", "flow.shift.y=2"])
    assert changed["flow"]["shift"] == {"use": "b", "y": 2}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.steps", "is no override"),
        ("=3", "is no override"),
        ("train..steps=3", "is no override"),
        ("metrics.2.use=x", "a list of 2; '2' isn't a place in it"),
        ("metrics.x=1", "a list of 2; 'x' isn't a place in it"),
        ("format.height.x=1", "format.height is a plain value, which has no 'x'"),
    ],
)
def test_what_is_no_override_is_told(override, said):
    """With the others that are none."""
    with pytest.raises(AssemblyError) as caught:
        apply_overrides(TINY, ["bad", override])
    assert said in str(caught.value)
    assert len(caught.value.faults) == 2


@given(st.text())
def test_any_text_is_a_value(text):
    """And sets nothing but its own key, whatever line breaks it holds."""
    assert set(apply_overrides({}, [f"key={text}"])) == {"key"}
