"""Prepared shards: the clips that training would have encoded, complete or refused."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import attrs
import pytest
import safetensors.torch
import torch
from helpers import tiny_training as tiny
from helpers.prepared import bytes_of, prepare

from harmony_parts.assembly.build import build
from harmony_parts.data.clips import ClipFolder
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.errors import MediaError, RunError
from harmony_parts.filters.metric import MetricRange
from harmony_parts.filters.silence import Silence
from harmony_parts.latents import prepare_shards as module
from harmony_parts.latents.encode import encode_examples
from harmony_parts.latents.prepare_shards import Preparation
from harmony_parts.references.own_cut import OwnCut
from harmony_parts.sources.shard_files import Index
from harmony_parts.sources.shards import Shards
from harmony_parts.testing.contracts.sources import check_source

BOTH = ("video", "audio")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of Soundstage in three shards."""
    out = tmp_path_factory.mktemp("prepared") / "clips"
    prepare(tiny.recipe(), out, clips=12, shard_clips=5)
    return out


def test_the_clips_are_those_that_training_encodes(shards: Path) -> None:
    """Latents, conditions of frozen encoders, texts."""
    recipe = tiny.recipe()
    parts, data = build(recipe, 0), Soundstage(size=12).build(format=recipe.format)
    reader = check_source(Shards(), root=shards)
    assert len(reader) == 12
    for number in (0, 5, 11):
        example, clip = data.example(number), reader.read(number, 0, BOTH)
        latents = encode_examples([example], recipe.format, parts.codecs, torch.device("cpu"))
        for stream in BOTH:
            assert torch.equal(clip.latents[stream], latents[stream][0])
        assert clip.name == example.name
        assert clip.prompt.caption == example.prompt.caption
        assert clip.prompt.image is None, "no trainable encoder reads it"
        assert clip.conditions.keys() == {"image", "voice"}, "those of frozen encoders"
        for name in ("image", "voice"):
            (own,) = parts.encoders[name]([example.prompt]).values()
            stored = clip.conditions[name]
            assert torch.equal(stored.tokens, own.tokens)
            assert torch.equal(stored.mask, own.mask)
            assert torch.equal(stored.dropped().tokens, own.dropped().tokens)
            assert torch.equal(stored.dropped().mask, own.dropped().mask)


def test_the_index_is_that_of_the_archives(shards: Path) -> None:
    """Any tar reader finds the same members, at the same bytes, without owner or time."""
    facts = json.loads((shards / "prepared.json").read_text())
    index = Shards().build(root=shards).index
    assert [shard["clips"] for shard in facts["shards"]] == [5, 5, 2]
    number = 0
    for shard in facts["shards"]:
        with tarfile.open(shards / shard["name"]) as tar:
            members = tar.getmembers()
            assert {(m.mtime, m.uid, m.uname) for m in members} == {(0, 0, "")}
            for tensors, texts in zip(members[::2], members[1::2], strict=True):
                assert tensors.name == f"{number:08d}.av.safetensors"
                assert texts.name == f"{number:08d}.json"
                assert tensors.offset_data == index.offset[number]
                assert [tensors.size, texts.size] == index.sizes[number].tolist()
                assert texts.offset_data - tensors.offset_data - tensors.size == index.gap[number]
                number += 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_preparation_continues_with_the_same_bytes(
    workers: int, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped inside the second shard: the first is kept."""
    written = []

    class Stop(Exception):
        pass

    def stopping(clip: object, *given: object) -> object:
        written.append(clip)
        if len(written) == 8:
            raise Stop
        return add(clip, *given)

    add = module._add
    with monkeypatch.context() as patch:
        patch.setattr(module, "_add", stopping)
        with pytest.raises(Stop):
            prepare(tiny.recipe(), tmp_path / "out", clips=12, shard_clips=5, workers=workers)
    assert sorted(p.name for p in (tmp_path / "out").glob("*.tar")) == ["shard-00000.tar"]
    assert not list((tmp_path / "out").glob(".*.part"))
    with pytest.raises(MediaError, match=r"no prepared.json: .*hasn't finished"):
        Shards().build(root=tmp_path / "out")
    said: list[str] = []
    prepare(
        tiny.recipe(), tmp_path / "out", clips=12, shard_clips=5, workers=workers, say=said.append
    )
    assert said == ["1 of 3 shards are there already"]
    assert bytes_of(tmp_path / "out") == bytes_of(shards)


def test_a_finished_preparation_is_left_as_it_is(shards: Path) -> None:
    before = bytes_of(shards)
    report = prepare(tiny.recipe(), shards, clips=12, shard_clips=5)
    assert report["kept"] == 12
    assert bytes_of(shards) == before


def test_another_preparation_is_refused(shards: Path, tmp_path: Path) -> None:
    """Other settings or other recordings, and a folder that holds other files."""
    with pytest.raises(RunError, match="prepared otherwise: dtype changed"):
        prepare(tiny.recipe(), shards, clips=12, shard_clips=5, dtype="float16")
    with pytest.raises(RunError, match="otherwise: data, listing, recordings changed"):
        prepare(tiny.recipe(), shards, clips=13, shard_clips=5)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"files that .* didn't write, such as notes\.txt"):
        prepare(tiny.recipe(), tmp_path, clips=12)


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "copy"))


def test_a_truncated_shard_is_refused(copy: Path) -> None:
    """When the source is opened, before any step."""
    data = (copy / "shard-00001.tar").read_bytes()
    (copy / "shard-00001.tar").write_bytes(data[:-2048])
    with pytest.raises(MediaError, match=r"shard-00001\.tar: has \d+ bytes instead of \d+"):
        Shards().build(root=copy)
    (copy / "shard-00001.tar").unlink()
    with pytest.raises(MediaError, match=r"shard-00001\.tar: can't be read"):
        Shards().build(root=copy)


def test_a_changed_byte_is_refused(copy: Path) -> None:
    """By the digest of its clip; the other clips can be read."""
    reader = Shards().build(root=copy)
    place = int(reader.index.offset[6]) + int(reader.index.sizes[6][0]) - 1
    data = bytearray((copy / "shard-00001.tar").read_bytes())
    data[place] ^= 1
    (copy / "shard-00001.tar").write_bytes(data)
    with pytest.raises(MediaError, match=r"shard-00001\.tar: clip 6, at byte \d+: .*SHA-256"):
        reader.read(6, 0, BOTH)
    reader.read(7, 0, BOTH)


class Trap:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.file,)


def test_a_pickle_in_the_place_of_a_clip_is_never_run(copy: Path, tmp_path: Path) -> None:
    """Even if index and digest were made to fit it."""
    import hashlib

    import numpy as np

    file = io.BytesIO()
    torch.save(Trap(tmp_path / "run"), file)
    reader = Shards().build(root=copy)
    pickled = file.getvalue()
    (copy / "shard-00000.tar").write_bytes(pickled + b"{}")
    columns = attrs.asdict(reader.index, recurse=False)
    reader.index = Index(**{name: column.copy() for name, column in columns.items()})
    reader.index.offset[0], reader.index.gap[0] = 0, 0
    reader.index.sizes[0] = [len(pickled), 2]
    digest = hashlib.sha256(pickled + b"{}").digest()
    reader.index.sha256[0] = np.frombuffer(digest, np.uint8)
    with pytest.raises(MediaError, match="isn't a prepared clip"):
        reader.read(0, 0, BOTH)
    assert not (tmp_path / "run").exists()
    (copy / "index.safetensors").write_bytes(pickled)
    with pytest.raises(MediaError, match=r"index\.safetensors: can't be read"):
        Shards().build(root=copy)
    assert not (tmp_path / "run").exists()


def test_a_shard_outside_the_folder_is_refused(copy: Path) -> None:
    facts = json.loads((copy / "prepared.json").read_text())
    for name in ("../shard-00000.tar", "/etc/passwd", "notes.pkl"):
        facts["shards"][0]["name"] = name
        (copy / "prepared.json").write_text(json.dumps(facts))
        with pytest.raises(MediaError, match="which isn't a shard"):
            Shards().build(root=copy)


@pytest.mark.parametrize("name", ["version", "shards", "shapes", "key", "bytes"])
def test_facts_that_lack_a_field_are_named(copy: Path, name: str) -> None:
    facts = json.loads((copy / "prepared.json").read_text())
    del (facts["shards"][1] if name == "bytes" else facts)[name]
    (copy / "prepared.json").write_text(json.dumps(facts))
    with pytest.raises(MediaError, match=rf"prepared\.json: lacks '?{name}"):
        Shards().build(root=copy)


def test_bad_and_repeated_recordings_are_left_out_and_named(tmp_path: Path) -> None:
    """A corrupt file and a copy; the report counts both, and the index has neither."""
    recipe, folder = tiny.recipe(), tmp_path / "clips"
    folder.mkdir()
    world = Soundstage().build(format=recipe.format)
    for i in range(2):
        world.example(i).clip.save(folder / f"{i}.mkv")
        (folder / f"{i}.txt").write_text(f"caption {i}")
    shutil.copy(folder / "0.mkv", folder / "copy.mkv")
    (folder / "bad.mkv").write_bytes(b"no media")
    recipe = attrs.evolve(recipe, data=ClipFolder(check=False))
    report = prepare(recipe, tmp_path / "out", root=folder)
    assert (report["recordings"], report["kept"], report["duplicates"]) == (4, 2, 1)
    assert report["unreadable"] == 1
    assert "bad.mkv" in report["unreadable_names"]["bad.mkv"]
    reader = Shards().build(root=tmp_path / "out")
    clips = [reader.read(i, 0, BOTH) for i in range(len(reader))]
    assert [(c.name, c.prompt.caption) for c in clips] == [
        ("0.mkv", "caption 0"),
        ("1.mkv", "caption 1"),
    ]


def test_the_report_tells_what_a_filter_drops_and_what_it_would_by_chance(tmp_path: Path) -> None:
    """Sync of Soundstage: its own sound passes where the sound of another clip doesn't."""
    filters = (Silence(share=0.95), MetricRange(name="correlation_at_0", lowest=0.3))
    settings = Preparation(filters=filters, shard_clips=12)
    recipe = attrs.evolve(
        tiny.recipe(),
        format=attrs.evolve(tiny.recipe().format, seconds=2.0, fps=12, sample_rate=8000),
    )
    report = prepare(recipe, tmp_path / "out", clips=24, settings=settings)
    silence, sync = report["filters"]
    assert silence["use"] == "harmony/silence"
    assert "repaired" not in silence, "it reads one stream"
    assert sync["judged"] == 24
    assert sync["repaired"] == 22, "the first clip of a shard has none before it"
    assert sync["dropped"] / sync["judged"] < sync["dropped_by_chance"] / sync["repaired"]
    assert report["kept"] == 24 - sum(report["reasons"].values())


def test_lengths_and_sizes_are_buckets(tmp_path: Path) -> None:
    """Each recording gets the format that fits; a reference voice more is a variant."""
    recipe, folder = tiny.recipe(), tmp_path / "clips"
    folder.mkdir()
    form = recipe.format
    formats = [
        attrs.evolve(form, seconds=s, height=h, width=w)
        for s in (1.0, 2.0)
        for h, w in ((16, 16), (16, 32))
    ]
    for name, source in zip("abcd", formats):
        clip = Soundstage(size=1).build(format=source).example(0).clip
        assert clip.waveform is not None
        noise = torch.rand(clip.waveform.shape, generator=torch.Generator().manual_seed(1)) - 0.5
        attrs.evolve(clip, waveform=noise).save(folder / f"{name}.mkv")
    recipe = attrs.evolve(recipe, data=ClipFolder(check=False, reference=OwnCut((0.2, 0.25))))
    settings = Preparation(formats=tuple(reversed(formats)), variants=3)
    prepare(recipe, tmp_path / "out", root=folder, settings=settings)
    reader = check_source(Shards(), root=tmp_path / "out")
    shapes = [reader.read(i, 0, BOTH).latents["video"].shape[:3] for i in range(4)]
    assert shapes == [(5, 2, 2), (5, 2, 4), (9, 2, 2), (9, 2, 4)]
    voices = [reader.read(0, k, BOTH).conditions["voice"].tokens for k in range(4)]
    assert torch.equal(voices[0], voices[3]), "the voices are used in turn"
    assert len({tuple(v.flatten().tolist()) for v in voices}) == 3
    with tarfile.open(tmp_path / "out" / "shard-00000.tar") as tar:
        member = tar.extractfile("00000000.json")
        assert member is not None
        texts = json.load(member)
    assert texts["cut"] == {"recording": "a.mkv", "begin": 0.0, "end": 1.0}
    pieces = [(p["begin"], p["end"]) for p in texts["references"]]
    assert len(set(pieces)) == 3
    assert all(0.19 < end - begin < 0.26 for begin, end in pieces)
    assert {p["recording"] for p in texts["references"]} == {"a.mkv"}


def test_half_precision_halves_the_size(shards: Path, tmp_path: Path) -> None:
    prepare(tiny.recipe(), tmp_path / "half", clips=2, dtype="float16")
    tensors = {}
    for folder in (shards, tmp_path / "half"):
        with tarfile.open(folder / "shard-00000.tar") as tar:
            member = tar.extractfile("00000001.av.safetensors")
            assert member is not None
            tensors[folder] = safetensors.torch.load(member.read())["latents/audio"]
    exact, half = tensors.values()
    assert half.dtype == torch.float16
    assert (exact - half.float()).abs().max() <= exact.abs().max() * 2**-11


def test_many_unreadable_recordings_in_a_row_stop_it(tmp_path: Path) -> None:
    """The disk may be gone; nothing is noted as bad, so the same call continues."""
    (tmp_path / "clips").mkdir()
    for i in range(40):
        (tmp_path / "clips" / f"{i:02d}.mkv").write_bytes(f"no media {i}".encode())
    recipe = attrs.evolve(tiny.recipe(), data=ClipFolder(check=False))
    with pytest.raises(RunError, match="32 recordings in a row can't be read: is the disk"):
        prepare(recipe, tmp_path / "out", root=tmp_path / "clips")
    assert not list((tmp_path / "out").glob("*.jsonl"))
