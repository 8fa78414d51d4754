"""One model of another publisher, named once in a recipe."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from harmony_parts.assembly.published import name_published
from harmony_parts.assembly.read import read_recipe, shipped_recipes
from harmony_parts.errors import AssemblyError
from harmony_parts.plugin import knob


@attrs.frozen
class Theirs:
    """A part with a publisher's weights."""

    model: str = knob("default/name", help="where they are")
    revision: str = knob("", help="which of them")
    config: dict[str, Any] = knob({}, help="random ones", converter=dict)


@attrs.frozen
class Plain:
    """A part without."""


PARTS: Any = SimpleNamespace(load=lambda kind, use: Theirs if use == "theirs" else Plain)


SMALL = "demo"
TABLE = """
denoiser = "theirs"
codecs.video = { use = "theirs", precision = "float32" }
codecs.audio = { use = "log-mel" }
encoders.text = { use = "theirs", model = "my/own" }
encoders.toy = { use = "theirs", config = { width = 2 } }
sample.shift = { video = { use = "theirs" }, audio = { use = "constant" } }
flow.shift = "theirs"
[published]
model = "owner/name"
revision = "abc"
"""


def test_parts_without_a_model_get_it():
    """And only those; the rest of the table stays as it is."""
    table = tomllib.loads(TABLE)
    got = {"use": "theirs", "model": "owner/name", "revision": "abc"}
    assert name_published(table, PARTS) == {
        "denoiser": got,
        "codecs": {"video": {**got, "precision": "float32"}, "audio": {"use": "log-mel"}},
        "encoders": {
            "text": {"use": "theirs", "model": "my/own"},
            "toy": {"use": "theirs", "config": {"width": 2}},
        },
        "sample": {"shift": {"video": got, "audio": {"use": "constant"}}},
        "flow": {"shift": got},
    }
    assert table == tomllib.loads(TABLE)


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ('"owner/name"', "expected `model`"),
        ("{ revision = 'x' }", "expected `model`"),
        ("{ model = '' }", "expected `model`"),
        ("{ model = 'a/b', folder = 'c' }", "expected `model`"),
        ("{ model = 3 }", "expected `model`"),
        ("{ model = 'a/b' }", "no part takes its weights from 'a/b'"),
    ],
)
def test_a_wrong_table_is_refused(published, message):
    """With its place, whether it is in the file or an override."""
    text = Path(str(shipped_recipes()[SMALL])).read_text(encoding="utf-8")
    table = tomllib.loads(f"published = {published}\n{text}")
    with pytest.raises(AssemblyError, match=rf"\$\.published: {message}"):
        read_recipe(table)
    with pytest.raises(AssemblyError, match=r"\$\.published: no part takes"):
        read_recipe(SMALL, ["published.model=a/b"])
