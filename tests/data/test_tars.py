"""Webdataset archives as a data set; hostile ones are refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch

from harmony_parts.av import Format
from harmony_parts.data.clips import ClipFolder
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.data.tars import ClipTars
from harmony_parts.errors import MediaError
from harmony_parts.testing.contracts.data import check_data

FORM = Format(fps=8, height=16, width=16, sample_rate=8000, seconds=1.0)


def pack(archive: Path, members: dict[str, bytes | tarfile.TarInfo]) -> None:
    with tarfile.open(archive, "w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips with texts beside them."""
    folder = tmp_path_factory.mktemp("clips")
    world = Soundstage().build(format=FORM)
    for i in range(2):
        world.example(i).clip.save(folder / f"{i}.mkv")
    (folder / "0.txt").write_text("a ball")
    (folder / "1.json").write_text(json.dumps({"caption": "a hammer", "transcript": "bang"}))
    return folder


@pytest.fixture(scope="module")
def packed(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in an archive, with the texts before and after their clips."""
    folder = tmp_path_factory.mktemp("tars")
    order = ("0.txt", "0.mkv", "1.mkv", "1.json")
    members = {f"./a/{name}": (clips / name).read_bytes() for name in order}
    pack(folder / "x.tar", {**members, "a/notes.md": b"not a clip"})
    return folder


def test_members_of_one_key_are_one_example(packed: Path, clips: Path) -> None:
    """The same examples as from the folder."""
    data = check_data(ClipTars(), FORM, root=packed)
    folder = ClipFolder().build(format=FORM, root=clips)
    for i in range(2):
        one, other = (d.example(i, torch.Generator().manual_seed(4)) for d in (data, folder))
        assert torch.equal(one.clip.frames, other.clip.frames)  # type: ignore[arg-type]
        assert torch.equal(one.prompt.voice, other.prompt.voice)  # type: ignore[arg-type]
        texts = [(e.prompt.caption, e.prompt.speech) for e in (one, other)]
        assert texts == [[("a ball", None), ("a hammer", "bang")][i]] * 2
        assert data.digest(i) == folder.digest(i)  # type: ignore[attr-defined]
        assert data.extent(i) == folder.extent(i)  # type: ignore[attr-defined]
    single = ClipTars().build(format=FORM, root=packed / "x.tar")
    assert single.names == ("x.tar/./a/0.mkv", "x.tar/./a/1.mkv")


def test_a_bad_member_is_named(tmp_path: Path) -> None:
    """Not the temporary file that it is decoded from."""
    pack(tmp_path / "x.tar", {"a.mp4": b"no media"})
    data = ClipTars().build(format=FORM, root=tmp_path)
    with pytest.raises(MediaError, match=r"x\.tar: x\.tar/a\.mp4: ") as error:
        data.example(0, torch.Generator())
    assert "harmony-" not in str(error.value)


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ({"/etc/evil.mp4": b"x"}, "leads out of the archive"),
        ({"../evil.mp4": b"x"}, "leads out of the archive"),
        ({"a/../../evil.mp4": b"x"}, "leads out of the archive"),
        ({"a\\..\\evil.mp4": b"x"}, "leads out of the archive"),
        ({"a.mp4": link("a.mp4", "/etc/passwd")}, "is a link or a device"),
        ({"a.mp4": b"x", "a.pyd": b"cos\nsystem\n(S'true'\ntR."}, "is a pickle"),
        ({"a.PKL": b"x"}, "is a pickle"),
    ],
)
def test_hostile_archives_are_refused(member: dict[str, bytes], why: str, tmp_path: Path) -> None:
    """Before anything is read from them; nothing is written beside them or anywhere else."""
    inside = tmp_path / "inside"
    inside.mkdir()
    pack(inside / "x.tar", member)  # type: ignore[arg-type]
    with pytest.raises(MediaError, match=why):
        ClipTars().build(format=FORM, root=inside)
    assert [path.name for path in tmp_path.rglob("*")] == ["inside", "x.tar"]


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no archive at all" * 100)
    with pytest.raises(MediaError, match=r"x\.tar: can't be read as a tar archive"):
        ClipTars().build(format=FORM, root=tmp_path)
    with pytest.raises(MediaError, match=r"no \.tar archives"):
        ClipTars().build(format=FORM, root=tmp_path.parent / "none")


def test_sound_alone(clips: Path, tmp_path: Path) -> None:
    """A folder of sound files, for a model without pictures."""
    world = Soundstage().build(format=FORM)
    world.example(0).clip.save(tmp_path / "a.wav")
    spec = ClipFolder(streams=("audio",))
    example = check_data(spec, FORM, root=tmp_path).example(0, torch.Generator())
    assert example.clip.frames is None
    assert example.prompt.image is None
    assert example.clip.waveform.shape == (1, 8000)  # type: ignore[union-attr]
