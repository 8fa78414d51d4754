"""`--set key.path=value` changes one setting, also inside defaults."""

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
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.stream_shifts import StreamShifts
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
    # another part: the settings of the previous one are removed
    "metrics.1.use=events": {"metrics": ["events", {"use": "events"}]},
    "flow.shift.use=other/constant": {"flow": {**TINY["flow"], "shift": {"use": "other/constant"}}},
    "flow.shift=constant": {"flow": {**TINY["flow"], "shift": "constant"}},
    # a part given as only its name becomes a table
    "flow.density.mean=1": {
        "flow": {**TINY["flow"], "density": {"use": "logit-normal", "mean": 1}}
    },
    "new.table.here=true": {"new": {"table": {"here": True}}},
}


@pytest.mark.parametrize(("override", "change"), CASES.items(), ids=CASES)
def test_an_override_changes_only_its_own_setting(override, change):
    """In a copy: the original table isn't changed."""
    before = repr(TINY)
    assert apply_overrides(TINY, [override]) == {**TINY, **change}
    assert repr(TINY) == before


def test_exchanging_the_root_removes_its_settings():
    """If the table is itself a part."""
    assert apply_overrides(
        {"use": "sync-cfg", "mute": "mute", "video": 3}, ["use=cfg", "video=2"]
    ) == {"use": "cfg", "video": 2}


def test_a_missing_use_can_be_set():
    """Existing settings remain, since they belong to no previous part."""
    assert apply_overrides({"shift": {"shift": 3}}, ["shift.use=constant"]) == {
        "shift": {"shift": 3, "use": "constant"}
    }


REACHED = {
    # the default of a part that is given as only its name
    ("sample.guidance.static.image=foo",): (
        lambda r: r.sample.guidance,
        SyncCFG(static=StaticVideo("foo")),
    ),
    # a default inside a default
    ("denoiser.interaction.style.use=none",): (
        lambda r: r.denoiser.interaction,
        GLDI(style=NoStyle()),
    ),
    # of a part that an earlier override exchanges
    (
        "sample.guidance.use=cfg",
        "sample.guidance.use=sync-cfg",
        "sample.guidance.static.image=foo",
    ): (
        lambda r: r.sample.guidance,
        SyncCFG(static=StaticVideo("foo")),
    ),
    # of a part in a table with free keys, in a list, and inside an absent part
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
    # one stream of a part that both streams share, which is repeated for the other stream
    ("flow.shift.video.shift=12",): (
        lambda r: r.flow.shift,
        StreamShifts(ConstantShift(12.0), ConstantShift(3.0)),
    ),
    ("sample.shift.audio={use = 'constant', shift = 2}",): (
        lambda r: r.sample.shift,
        StreamShifts(ConstantShift(5.0), ConstantShift(2.0)),
    ),
    ("sample.shift.video.shift=12", "sample.shift.audio.use=constant"): (
        lambda r: r.sample.shift,
        StreamShifts(ConstantShift(12.0), ConstantShift(5.0)),
    ),
    # and one part again for both
    ("sample.shift.video.shift=12", "sample.shift.use=constant"): (
        lambda r: r.sample.shift,
        ConstantShift(5.0),
    ),
    # one setting of a class of settings: the others keep the defaults of this setting
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
    """The table doesn't contain them."""
    get, value = expected
    assert get(read_recipe(TINY, overrides, parts=TOYS)) == value


def test_a_path_leads_into_the_default_of_its_setting():
    """Not into the defaults of the class itself."""

    @attrs.frozen
    class Holder:
        size: Size = attrs.Factory(lambda: Size(3, 4))
        weights: dict[str, float] = attrs.Factory(lambda: {"a": 1.0})

    assert apply_overrides({}, ["size.width=5", "weights.b=2"], Holder, parts=TOYS) == {
        "size": {"width": 5, "height": 4},
        "weights": {"a": 1.0, "b": 2},
    }


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["sample.guidance.static.imago=foo"],
            ("$.sample.guidance.static.imago: unknown setting",),
        ),
        (["sample.guidance.statics.image=foo"], ("$.sample.guidance.statics: unknown setting",)),
        # a fault elsewhere doesn't hide it
        (["train.steps=many", "sample.guidance.static.image=foo"], ("$.train.steps: expected",)),
        (
            ["sample.guidance.use=nix", "sample.guidance.static.image=foo"],
            ("$.sample.guidance.use: there is no guidance",),
        ),
        (["use=x"], ("$.use: unknown setting",)),
        (["flow.shift.video.shfit=2"], ("$.flow.shift.video.shfit: unknown setting",)),
        (["flow.shift.vidio.shift=2"], ("$.flow.shift.vidio: unknown setting",)),
        (["train.use=x"], ("$.train.use: unknown setting",)),
    ],
)
def test_faults_inside_defaults_are_reported_with_their_path(overrides, expected):
    """And no other faults."""
    with pytest.raises(AssemblyError) as caught:
        read_recipe(TINY, overrides, parts=TOYS)
    assert len(caught.value.faults) == len(expected)
    assert all(
        fault.startswith(start) for fault, start in zip(caught.value.faults, expected, strict=True)
    )


def test_overrides_apply_in_order():
    """A part can be exchanged and then changed."""
    changed = apply_overrides(
        TINY, ["flow.shift.use=a", "flow.shift.x=1", "flow.shift.use=b", "flow.shift.y=2"]
    )
    assert changed["flow"]["shift"] == {"use": "b", "y": 2}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.steps", "is not an override"),
        ("=3", "is not an override"),
        ("train..steps=3", "is not an override"),
        ("metrics.2.use=x", "a list of 2; '2' isn't an index of it"),
        ("metrics.x=1", "a list of 2; 'x' isn't an index of it"),
        ("format.height.x=1", "format.height is a plain value; it has no 'x'"),
    ],
)
def test_malformed_overrides_are_refused(override, expected):
    """All of them are reported."""
    with pytest.raises(AssemblyError) as caught:
        apply_overrides(TINY, ["bad", override])
    assert expected in str(caught.value)
    assert len(caught.value.faults) == 2


@given(st.text())
def test_any_text_is_a_value(text):
    """It sets only its own key, even if it contains line breaks."""
    assert set(apply_overrides({}, [f"key={text}"])) == {"key"}


@pytest.mark.parametrize("given", ["train.steps=10", {"train.steps": 10}], ids=str)
def test_overrides_are_a_list(given: object) -> None:
    with pytest.raises(AssemblyError, match=r"give a list, such as \[.train\.steps=10"):
        read_recipe("demo", given)
