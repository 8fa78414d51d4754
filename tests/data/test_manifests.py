"""Manifests of a folder of clips: the texts that they give, and their faults."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from helpers.counting_clips import FORMAT, SHORT, draw, frame_numbers

from harmony_parts.data.clips import ClipFolder
from harmony_parts.errors import MediaError


def test_the_manifest_gives_the_prompts(with_manifest) -> None:
    data = with_manifest(
        "file,licence,caption,sound,transcript,what\n"
        'within/short.MKV,CC0,"grey, brighter",hum,"bin blue, now",ignored\n'
        "long.mkv,CC0,, ,\n"
        "./within/../long.mkv,CC0,雨,,\n"
    )
    prompts = [draw(data, i, 0).prompt for i in range(3)]
    assert [(p.caption, p.sound, p.speech) for p in prompts] == [
        ("grey, brighter", "hum", "bin blue, now"),
        (None, None, None),
        ("雨", None, None),
    ]
    assert frame_numbers(draw(data, 0, 0).clip.frames)[-1] == SHORT - 1
    assert draw(data, 0, 0).name == "within/short.MKV"


def test_the_column_what_is_the_caption_if_there_is_no_caption_column(with_manifest) -> None:
    data = with_manifest("file,what\nlong.mkv,a grey ramp\n")
    assert draw(data, 0, 0).prompt.caption == "a grey ramp"


def test_a_manifest_written_by_a_spreadsheet_is_read(with_manifest) -> None:
    data = with_manifest("file, caption\r\nlong.mkv, ramp\r\n\r\n", encoding="utf-8-sig")
    assert len(data) == 1
    assert draw(data, 0, 0).prompt.caption == "ramp"


def test_the_manifest_can_be_ignored(with_manifest) -> None:
    assert len(with_manifest("file\nlong.mkv\n")) == 1
    assert len(with_manifest("file\nlong.mkv\n", manifest="")) == 2


@pytest.mark.parametrize(
    "name", ["../long.mkv", "within/../../x.mkv", "/etc/passwd", "", ".", "..", "within/.."]
)
def test_a_manifest_cannot_name_files_outside_the_folder(with_manifest, name) -> None:
    with pytest.raises(
        MediaError, match=r"manifest\.csv, line 3: file .* isn't a file in the data folder"
    ):
        with_manifest(f"file,caption\nlong.mkv,a\n{name},b\n")


def test_a_name_that_begins_with_dots_is_inside_the_folder(with_manifest, tmp_path) -> None:
    shutil.copy(tmp_path / "clips" / "long.mkv", tmp_path / "clips" / "..long.mkv")
    assert len(with_manifest("file\n..long.mkv\n")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,caption\nlong.mkv,a\n", "no column `file`; its first line names path, caption"),
        ("", "no columns"),
        ("file,caption\n", "lists no files"),
        ("file,caption\nlong.mkv,a,b\n", "line 2: has more cells than columns"),
        ('file,caption\nlong.mkv,"a\n', "isn't a CSV file"),
        ("file\na.mkv\nlong.mkv\nwithin/b.mkv\n", r"a\.mkv, .*within.b\.mkv"),
        ("file\nwithin\n", "lists missing files: .*within"),
    ],
)
def test_errors_of_a_manifest_are_named(with_manifest, text, message) -> None:
    with pytest.raises(MediaError, match=message) as error:
        with_manifest(text)
    assert "manifest.csv" in str(error.value)


def test_a_manifest_in_another_encoding_is_named(with_manifest) -> None:
    with pytest.raises(MediaError, match=r"manifest\.csv: isn't a CSV file in UTF-8"):
        with_manifest("file,caption\nlong.mkv,é\n", encoding="latin-1")


ROWS = [{"file": "within/short.MKV", "caption": "short"}, {"file": "long.mkv", "caption": "long"}]


def write_csv(rows: list[dict[str, str]], path: Path) -> None:
    path.write_text("\n".join(["file,caption", *(",".join(row.values()) for row in rows)]))


def write_lines(rows: list[dict[str, str]], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(rows: list[dict[str, str]], path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pip install harmony-parts[parquet]")
    importlib.import_module("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("suffix", "write", "place"),
    [
        ("csv", write_csv, "line 4"),
        ("jsonl", write_lines, "line 3"),
        ("parquet", write_parquet, "row 2"),
    ],
)
def test_manifests_of_all_formats_are_alike(folder, tmp_path, suffix, write, place) -> None:
    root = shutil.copytree(folder, tmp_path / "clips")
    write(ROWS, root / f"list.{suffix}")
    data = ClipFolder(manifest=f"list.{suffix}").build(format=FORMAT, root=root)
    assert [(e.name, e.caption) for e in data.entries] == [
        ("within/short.MKV", "short"),
        ("long.mkv", "long"),
    ]
    write([*ROWS, {"file": "../x.mkv", "caption": ""}], root / f"bad.{suffix}")
    with pytest.raises(
        MediaError, match=rf"bad\.{suffix}, {place}: .*isn't a file in the data folder"
    ):
        ClipFolder(manifest=f"bad.{suffix}").build(format=FORMAT, root=root)


def test_a_file_that_is_no_parquet_is_named(folder, tmp_path) -> None:
    pytest.importorskip("pyarrow", reason="pip install harmony-parts[parquet]")
    root = shutil.copytree(folder, tmp_path / "clips")
    (root / "list.parquet").write_bytes(b"PAR1")
    with pytest.raises(MediaError, match=r"list\.parquet: can't be read as Parquet"):
        ClipFolder(manifest="list.parquet").build(format=FORMAT, root=root)


def test_without_pyarrow_parquet_is_refused_with_the_remedy(folder, tmp_path, monkeypatch) -> None:
    root = shutil.copytree(folder, tmp_path / "clips")
    (root / "list.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MediaError, match=r"needs pyarrow: pip install 'harmony-parts\[parquet\]'"):
        ClipFolder(manifest="list.parquet").build(format=FORMAT, root=root)
