"""Batch files: the jobs that are read, the faults that are reported, and the names of clips."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from helpers.command_line import jsonl
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.errors import RequestError
from harmony_parts.generate.batch_file import _name, read_batch, slug
from harmony_parts.generate.generated import SUFFIXES
from harmony_parts.generate.request import Request


def test_a_table_is_read_as_spreadsheets_write_it(tmp_path):
    (tmp_path / "v.wav").touch()
    text = (
        '\ufeffprompt, seed ,seconds,voice,extra,name\r\n"a ball, red",7,1.5,v.wav,"{""a"":'
        ' 1}",x.mkv\r\n,,,,,\r\nb,,,,,\r\n'
    )
    (tmp_path / "b.csv").write_text(text, newline="")
    first, empty, last = read_batch(tmp_path / "b.csv", Request(sound="rain", seconds=9.0))
    fields = {
        "prompt": "a ball, red",
        "seed": 7,
        "seconds": 1.5,
        "voice": tmp_path / "v.wav",
        "extra": {"a": 1},
    }
    assert first.columns == fields.keys()
    assert first.request.fields() == Request(sound="rain", **fields).fields()
    assert last.request.fields() == Request(prompt="b", sound="rain", seconds=9.0).fields()
    assert (first.name, empty.name, last.name) == ("x.mkv", "0003-0.mp4", "0004-b-0.mp4")
    assert last.source == "b.csv, line 4"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({"promt": "x"}, "unknown column 'promt' (did you mean 'prompt'?)"),
        ({"seed": -1}, "seed must be a whole number from 0 to 2**63 - 1, not -1"),
        ({"seed": 1.5}, "seed must be a whole number from 0 to 2**63 - 1, not 1.5"),
        ({"steps": True}, "steps must be a whole number of at least 1, not True"),
        ({"seconds": float("inf")}, "seconds must be a finite number above 0, not inf"),
        ({"prompt": 3}, "prompt must be a single string, not 3"),
        ({"image": "absent.png"}, "image: PATH/absent.png: no such file"),
        ({"extra": [1]}, "extra must be a mapping (in JSON, an object), not [1]"),
        ({"name": "../x"}, "the name '../x' isn't a safe file name: it has '/'"),
        ({"name": "a\nb"}, "the name 'a\\nb' isn't a safe file name: it has '\\n'"),
        (
            {"name": "CON.mp4"},
            "the name 'CON.mp4' isn't a safe file name: it is reserved on Windows",
        ),
        ({"name": "-rf"}, "the name '-rf' isn't a safe file name: it begins with '-'"),
        ({"name": 3}, "name must be a string, not 3"),
        ({"name": "ä" * 101}, f"the name {'ä' * 20!r}... is longer than 200 bytes"),
        ("[1]", "isn't a JSON object: [1]"),
        ("{", "isn't a JSON object: {"),
    ],
)
def test_each_fault_names_its_line(line, fault, tmp_path):
    with pytest.raises(RequestError) as error:
        read_batch(jsonl(tmp_path / "b.jsonl", {"prompt": "fine"}, line), Request())
    fault = fault.replace("PATH", str(tmp_path))
    assert f"b.jsonl, line 2: {fault}" in str(error.value)
    assert "line 1" not in str(error.value)


@given(st.text(max_size=300), st.text(max_size=60) | st.none(), st.integers(0, 2**63 - 1))
def test_names_are_safe_for_any_prompt(prompt, name, seed):
    file, fault = _name(name, 12, {"prompt": prompt, "seed": seed}, 0)
    if fault:
        return
    assert Path(file).name == file
    assert Path(file).suffix in SUFFIXES
    assert not file.startswith((".", "-"))
    assert len(f"{file}.json".encode()) <= 255
    assert not [c for c in file if c in '/\\:*?"<>|' or unicodedata.category(c).startswith("C")]
    assert slug(prompt) == slug(slug(prompt))
