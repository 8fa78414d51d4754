"""`harmony prepare` and `harmony curriculum`, with a tiny model."""

from __future__ import annotations

import json
import re

from harmony_parts.av import Format
from harmony_parts.data.soundstage import Soundstage


def run(harmony, *args):
    return harmony(*args, "--device", "cpu")


def prepared(harmony, recipe, source, out, *more):
    result = run(harmony, "prepare", source, out, "--recipe", recipe, "--workers", "0", *more)
    assert result.exit_code == 0, result.output
    return result


def test_a_folder_is_prepared_and_trained_on(harmony, recipe, tmp_path):
    """With texts beside the clips, a manifest, and an archive: the recipe's own data set is
    Soundstage, and the source decides.
    """
    import shutil
    import tarfile

    clips = tmp_path / "clips"
    clips.mkdir()
    form = Format(fps=12, height=16, width=16, sample_rate=8000, seconds=0.5)
    for i in range(3):
        clip = Soundstage().build(format=form).example(i).clip
        clip.save(clips / f"{i}.mkv")
        (clips / f"{i}.txt").write_text(f"clip {i}")
    shutil.copy(clips / "0.mkv", clips / "copy.mkv")
    (clips / "bad.mkv").write_bytes(b"no media")
    out = tmp_path / "prepared"
    result = prepared(harmony, recipe, clips, out)
    assert "3 of 5 recordings kept" in result.stdout
    assert "1 repeat the content of another" in result.stdout
    assert "1 can't be read:" in result.stdout
    assert "bad.mkv" in result.stdout
    again = prepared(harmony, recipe, clips, out)
    assert "1 of 1 shards are there already" in again.stderr
    result = run(
        harmony, "train", recipe, "--data", out, "--set", "source.use=shards",
        "--set", "train.steps=1", "--out", tmp_path / "run", "--workers", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output

    (clips / "list.jsonl").write_text(json.dumps({"file": "1.mkv", "caption": "one"}) + "\n")
    result = prepared(harmony, recipe, clips / "list.jsonl", tmp_path / "listed")
    assert "1 of 1 recordings kept" in result.stdout
    with tarfile.open(tmp_path / "clips.tar", "w") as tar:
        tar.add(clips / "2.mkv", "2.mkv")
    result = prepared(harmony, recipe, tmp_path / "clips.tar", tmp_path / "from-tar")
    assert "1 of 1 recordings kept" in result.stdout


def test_filters_lengths_and_the_name_of_a_data_set(harmony, recipe, tmp_path):
    result = prepared(
        harmony, recipe, "soundstage", tmp_path / "out", "--seconds", "0.5", "--seconds", "1",
        "--set", "data.size=6", "--set", 'filters=[{use="length", shortest=0.75}]',
    )  # fmt: skip
    assert "3 of 6 recordings kept, 3 s" in result.stdout
    assert "harmony/length drops 3 of 6" in result.stdout
    assert "3: is shorter than 0.75 s" in result.stdout
    result = run(
        harmony, "prepare", "soundstage", tmp_path / "none", "--recipe", recipe, "--set",
        "data.size=2", "--set", 'filters=[{use="metric", name="correlaton", lowest=0.1}]',
    )  # fmt: skip
    assert result.exit_code == 1
    assert re.search(r"none: no clip is left of 2 \(.*\):\n", result.stderr)
    assert "2: has no correlaton (did you mean 'correlation'?)" in result.stderr


def test_wrong_use_is_named(harmony, recipe, tmp_path):
    out = tmp_path / "out"
    result = run(harmony, "prepare", "soundstge", out, "--recipe", recipe)
    assert result.exit_code == 1
    assert "no data called 'soundstge' (did you mean 'soundstage'?)" in result.stderr
    result = run(harmony, "prepare", "soundstage", out, "--recipe", recipe, "--size", "64")
    assert result.exit_code == 2
    assert "'64' isn't HEIGHTxWIDTH" in result.stderr
    assert not out.exists()


def test_a_curriculum_continues(harmony, recipe, tmp_path):
    """Two stages; the second call leaves them as they are."""
    args = ("curriculum", recipe, recipe, "--out", tmp_path, "--set", "train.steps=1")
    for _ in range(2):
        result = run(harmony, *args)
        assert result.exit_code == 0, result.output
        assert f"{tmp_path}/2-tiny/model: trained in" in result.stdout
    assert (tmp_path / "1-tiny" / "model" / "recipe.toml").is_file()
    result = run(harmony, *args, "--start", "3=models/wan")
    assert result.exit_code == 1
    assert "there is no stage 3: the curriculum has 2" in result.stderr


def test_a_wrong_source_is_named(harmony, recipe, tmp_path):
    missing, media = tmp_path / "clipz", tmp_path / "a.mp4"
    media.write_bytes(b"media")
    result = run(harmony, "prepare", missing, tmp_path / "out", "--recipe", recipe)
    assert result.exit_code == 1
    assert f"{missing}: no such file or folder, and there is no data called" in result.output
    result = run(harmony, "prepare", media, tmp_path / "out", "--recipe", recipe)
    assert result.exit_code == 1
    assert "is neither a manifest (.csv, .jsonl, .parquet) nor an archive (.tar)" in result.output


def test_prepared_clips_that_are_read_as_recordings_are_recognised(harmony, recipe, tmp_path):
    prepared(harmony, recipe, "soundstage", tmp_path / "prepared", "--set", "data.size=2")
    words = ("train", recipe, "--data", tmp_path / "prepared", "--out", tmp_path / "run")
    result = run(harmony, *words, "--set", "data={use='clips'}")
    assert result.exit_code == 1
    assert "has prepared clips; read them with --set source.use=shards" in result.output
