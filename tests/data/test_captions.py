"""Texts beside clips, as other trainers write them, and what is said where there are none."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

from harmony_parts.av import Format
from harmony_parts.data.captions import texts_beside
from harmony_parts.data.clip_set import ClipSet
from harmony_parts.data.clips import ClipFolder
from harmony_parts.errors import MediaError
from harmony_parts.media.clip import Clip

FORMAT = Format(fps=10, height=16, width=24, sample_rate=8000, seconds=1.0)


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = torch.zeros(4, 16, 24, 3, dtype=torch.uint8)
    return Clip(frames, 10, torch.zeros(1, 3200), 8000).save(
        tmp_path_factory.mktemp("clip") / "a.mkv"
    )


@pytest.fixture
def root(clip_file: Path, tmp_path: Path) -> Path:
    """A folder of the clips a, b.c and sub/d."""
    (tmp_path / "sub").mkdir()
    for name in ("a.mkv", "b.c.mkv", "sub/d.mkv"):
        (tmp_path / name).write_bytes(clip_file.read_bytes())
    return tmp_path


def built(root: Path, **settings: str) -> tuple[ClipSet, list[str]]:
    """The data set, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = ClipFolder(**settings).build(format=FORMAT, root=root)
    return data, [str(warning.message) for warning in caught]


def test_texts_beside_clips_are_their_prompts(root: Path) -> None:
    (root / "a.txt").write_text("\ufeffa ball\nbounces \n", encoding="utf-8")
    (root / "b.c.caption").write_text("a bell")
    (root / "sub" / "d.json").write_text(
        json.dumps({"prompt": "a face", "sound": "a voice", "transcript": "Hello.", "speaker": 7})
    )
    data, lines = built(root)
    assert [(e.caption, e.sound, e.speech) for e in data.entries] == [
        ("a ball bounces", None, None),
        ("a bell", None, None),
        ("a face", "a voice", "Hello."),
    ]
    assert not lines
    assert data.example(0, torch.Generator()).prompt.caption == "a ball bounces"
    before = data.fingerprint(0)
    (root / "a.txt").write_text("another")
    assert built(root)[0].fingerprint(0) != before  # prepared clips aren't reused


def test_a_text_file_wins_over_json_and_both_count(root: Path) -> None:
    (root / "a.json").write_text(json.dumps({"caption": "old", "sound": "knocks"}))
    (root / "a.txt").write_text("new")
    assert texts_beside(root / "a.mkv") == ("new", "knocks", None, None)
    (root / "a.txt").write_text(" \n")  # empty: unknown
    assert texts_beside(root / "a.mkv") == ("old", "knocks", None, None)


def test_a_manifest_wins_and_says_so(root: Path) -> None:
    (root / "a.txt").write_text("beside")
    (root / "manifest.csv").write_text("file,caption\na.mkv,listed\n")
    data, (line,) = built(root)
    assert [entry.caption for entry in data.entries] == ["listed"]
    assert "manifest.csv gives the texts, so files of texts beside 1 clips aren't read" in line
    assert built(root, manifest="")[0].entries[0].caption == "beside"


def test_clips_without_texts_are_counted_in_one_line(root: Path) -> None:
    (root / "a.txt").write_text("a ball")
    (line,) = built(root)[1]
    assert line.startswith("2 of 3 clips have no caption (b.c.mkv, sub/d.mkv): ")
    assert "NAME.txt beside each" in line
    (root / "a.txt").unlink()
    (root / "manifest.csv").write_text("file,caption\na.mkv,\n")
    (line,) = built(root)[1]
    assert line.startswith("1 of 1 clips have no caption (a.mkv)")


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.txt", b"\xff\xfe\xe4", "isn't text in UTF-8"),
        ("a.json", b"{", "isn't JSON"),
        ("a.json", b"[1]", "must be an object"),
    ],
)
def test_damaged_texts_are_named(root: Path, name: str, content: bytes, cause: str) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(MediaError, match=rf"{name}: {cause}"):
        built(root)
