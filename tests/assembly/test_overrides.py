"""`--set key.path=value`."""

from __future__ import annotations

import attrs
import pytest
from helpers.toy_parts import TINY, Size, with_toys
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.anchors.static import StaticVideo
from harmony_parts.assembly.overrides import apply_overrides
from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import AssemblyError
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.style.none import NoStyle

TOYS = with_toys()

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
    "metrics.0.tolerance=0.1": {
        "metrics": [{"use": "events", "tolerance": 0.1}, {"use": "correlation", "reach": 0.4}]
    },
    # another part: the settings of the old one go
    "metrics.1.use=events": {"metrics": ["events", {"use": "events"}]},
    "flow.shift.use=other/constant": {"flow": {**TINY["flow"], "shift": {"use": "other/constant"}}},
    "flow.shift=constant": {"flow": {**TINY["flow"], "shift": "constant"}},
    # a part by its name alone becomes a table
    "flow.density.mean=1": {
        "flow": {**TINY["flow"], "density": {"use": "logit-normal", "mean": 1}}
    },
    "new.table.here=true": {"new": {"table": {"here": True}}},
}


@pytest.mark.parametrize(("override", "change"), CASES.items(), ids=CASES)
def test_an_override_changes_its_own_setting_alone(override, change):
    """And leaves the table that it was given as it was."""
    before = repr(TINY)
    assert apply_overrides(TINY, [override]) == {**TINY, **change}
    assert repr(TINY) == before


def test_exchanging_the_root_drops_its_settings():
    """Where the table is itself a part."""
    assert apply_overrides(
        {"use": "sync-cfg", "mute": "mute", "video": 3}, ["use=cfg", "video=2"]
    ) == {"use": "cfg", "video": 2}


def test_a_missing_use_can_be_given():
    """There was no part yet whose settings these would have been."""
    assert apply_overrides({"shift": {"shift": 3}}, ["shift.use=constant"]) == {
        "shift": {"shift": 3, "use": "constant"}
    }


REACHED = {
    # a default part of a part that is written as a name
    ("sample.guidance.static.image=foo",): (
        lambda r: r.sample.guidance,
        SyncCFG(static=StaticVideo("foo")),
    ),
    # a default of a default, neither of them written
    ("denoiser.interaction.style.use=none",): (
        lambda r: r.denoiser.interaction,
        GLDI(style=NoStyle()),
    ),
    # of a part that is exchanged just before
    (
        "sample.guidance.use=cfg",
        "sample.guidance.use=sync-cfg",
        "sample.guidance.static.image=foo",
    ): (
        lambda r: r.sample.guidance,
        SyncCFG(static=StaticVideo("foo")),
    ),
    # of a part in a table with names of the user's, in a list, and below an absent one
    (
        "sample.guidance.use=everything",
        "sample.guidance.named.x.use=sync-cfg",
        "sample.guidance.named.x.static.image=foo",
    ): (
        lambda r: r.sample.guidance.named,
        {"x": SyncCFG(static=StaticVideo("foo"))},
    ),
    (
        "sample.guidance.use=everything",
        "sample.guidance.others=['sync-cfg']",
        "sample.guidance.others.0.static.image=foo",
    ): (
        lambda r: r.sample.guidance.others,
        (SyncCFG(static=StaticVideo("foo")),),
    ),
    (
        "sample.guidance.use=everything",
        "sample.guidance.inner.use=sync-cfg",
        "sample.guidance.inner.static.image=foo",
    ): (
        lambda r: r.sample.guidance.inner,
        SyncCFG(static=StaticVideo("foo")),
    ),
    # one setting of a class of settings: the others keep the default of this place
    ("sample.guidance.use=everything", "sample.guidance.size.width=5"): (
        lambda r: r.sample.guidance.size,
        Size(5, 2),
    ),
}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    REACHED.items(),
    ids=lambda x: x[-1] if isinstance(x[-1], str) else "",
)
def test_a_path_leads_into_defaults(overrides, expected):
    """Which the recipe doesn't write out."""
    get, value = expected
    assert get(read_recipe(TINY, overrides, parts=TOYS)) == value


def test_a_path_leads_into_the_default_of_its_place():
    """Not into that of the class there."""

    @attrs.frozen
    class Holder:
        size: Size = attrs.Factory(lambda: Size(3, 4))
        weights: dict[str, float] = attrs.Factory(lambda: {"a": 1.0})

    assert apply_overrides({}, ["size.width=5", "weights.b=2"], Holder, parts=TOYS) == {
        "size": {"width": 5, "height": 4},
        "weights": {"a": 1.0, "b": 2},
    }


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["sample.guidance.static.imago=foo"],
            ("$.sample.guidance.static.imago: unknown setting",),
        ),
        (["sample.guidance.statics.image=foo"], ("$.sample.guidance.statics: unknown setting",)),
        # what is wrong elsewhere doesn't get in the way
        (["train.steps=many", "sample.guidance.static.image=foo"], ("$.train.steps: expected",)),
        (
            ["sample.guidance.use=nix", "sample.guidance.static.image=foo"],
            ("$.sample.guidance.use: there is no guidance",),
        ),
        (["use=x"], ("$.use: unknown setting",)),
        (["train.use=x"], ("$.train.use: unknown setting",)),
    ],
)
def test_faults_below_defaults_are_told_with_their_path(overrides, said):
    """And no others."""
    with pytest.raises(AssemblyError) as caught:
        read_recipe(TINY, overrides, parts=TOYS)
    assert len(caught.value.faults) == len(said)
    assert all(
        fault.startswith(what) for fault, what in zip(caught.value.faults, said, strict=True)
    )


def test_overrides_apply_in_order():
    """So that a part can be exchanged and then set."""
    changed = apply_overrides(
        TINY, ["flow.shift.use=a", "flow.shift.x=1", "flow.shift.use=b", "flow.shift.y=2"]
    )
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
