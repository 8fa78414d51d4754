"""A folder of clips: which files, which words, and random cuts in which picture and sound stay
together.
"""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_parts.av import Format
from harmony_parts.data.clips import ClipFolder
from harmony_parts.errors import AssemblyError, MediaError
from harmony_parts.media.clip import Clip

# 10 frames, 8,000 samples
FORMAT = Format(fps=Fraction(10), height=16, width=24, sample_rate=8000, seconds=1.0)
LONG, SHORT = 25, 4  # frames


def counting(frames: int) -> Clip:
    """Frame i is grey of level 9 i + 16, and what sounds with it is constant at (i + 1) / 32."""
    count = torch.arange(frames)
    pictures = (
        (9 * count + 16).to(torch.uint8)[:, None, None, None].expand(-1, 16, 24, 3).contiguous()
    )
    return Clip(
        pictures, Fraction(10), ((count + 1) / 32).repeat_interleave(800)[None].float(), 8000
    )


def seen(frames: torch.Tensor) -> list[int]:
    """Which frame of `counting` each is; a level of 9 is more than what H.264 and BT.709 (limited
    range) change.
    """
    return ((frames.float().mean((1, 2, 3)) - 16) / 9).round().int().tolist()


def heard(sound: torch.Tensor) -> torch.Tensor:
    """Which frame of `counting` each sample belongs to; -1 is silence. FLAC keeps multiples of 1/32
    exactly.
    """
    return sound * 32 - 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    (root / "within").mkdir()
    (root / ".trash").mkdir()
    counting(LONG).save(root / "long.mkv")
    counting(SHORT).save(root / "within" / "short.MKV")
    shutil.copy(root / "long.mkv", root / ".trash" / "old.mkv")
    (root / "notes.txt").write_text("no media")
    return root


@pytest.fixture
def listed(folder: Path, tmp_path: Path):
    """Write a manifest beside the two files, and build its data set."""
    shutil.copytree(folder, tmp_path / "clips")

    def build(text: str, encoding: str = "utf-8", **spec):
        (tmp_path / "clips" / "manifest.csv").write_bytes(text.encode(encoding))
        return ClipFolder(**spec).build(format=FORMAT, root=tmp_path / "clips")

    return build


@pytest.fixture(scope="module")
def plain(folder: Path):
    return ClipFolder().build(format=FORMAT, root=folder)


def draw(data, index: int, seed: int):
    return data.example(index, torch.Generator().manual_seed(seed))


def test_without_a_manifest_every_media_file_is_an_example(plain) -> None:
    assert len(plain) == 2
    assert [draw(plain, i, 0).name for i in range(2)] == ["long.mkv", "within/short.MKV"]
    prompt = draw(plain, 0, 0).prompt
    assert (prompt.caption, prompt.sound, prompt.speech) == (None, None, None)
    assert draw(plain, 0, 0).events is None


@given(seed=st.integers(0, 10**6))
def test_picture_and_sound_of_a_cut_belong_together(plain, seed) -> None:
    example = draw(plain, 0, seed)
    clip = example.clip
    assert clip.fps == 10
    assert clip.sample_rate == 8000
    assert clip.frames.shape == (10, 16, 24, 3)
    assert clip.waveform.shape == (1, 8000)
    first = seen(clip.frames)[0]
    assert 0 <= first <= LONG - 10
    assert seen(clip.frames) == list(range(first, first + 10))
    assert torch.equal(
        heard(clip.mono()), torch.arange(first, first + 10).repeat_interleave(800).float()
    )
    assert torch.equal(example.prompt.image, clip.frames[0])
    voice = example.prompt.voice
    assert voice.dtype == torch.float32
    assert 8000 <= len(voice) <= 20000  # from 1 s to 3 s, or all there is
    assert heard(voice).min() >= 0
    assert (voice.diff() >= 0).all()  # one piece of the ramp


def test_cuts_and_voices_reach_both_ends_and_are_uniform(plain) -> None:
    """400 cuts of 16 places: 25 expected at each, and the chance of fewer than 6 or more than 52
    anywhere is below 1e-4 (binomial).
    """
    generator = torch.Generator().manual_seed(0)
    examples = [plain.example(0, generator) for _ in range(400)]
    counts = torch.bincount(
        torch.tensor([seen(e.clip.frames[:1])[0] for e in examples]), minlength=16
    )
    assert len(counts) == 16
    assert counts.min() >= 6
    assert counts.max() <= 52
    voices = [e.prompt.voice for e in examples]
    assert min(heard(v)[0] for v in voices) == 0
    assert max(heard(v)[-1] for v in voices) == LONG - 1
    assert min(map(len, voices)) < 9000
    assert max(map(len, voices)) == 20000


def test_a_short_file_holds_its_last_frame_and_falls_silent(plain) -> None:
    example = draw(plain, 1, 3)
    assert seen(example.clip.frames) == [0, 1, 2, 3] + [3] * 6
    assert torch.equal(
        heard(example.clip.mono()), torch.tensor([0.0, 1, 2, 3] + [-1] * 6).repeat_interleave(800)
    )
    assert len(example.prompt.voice) == SHORT * 800  # no silence in the voice


@given(seed=st.integers(0, 10**6), index=st.integers(0, 1))
@settings(max_examples=10)
def test_same_generator_state_same_example(plain, folder, seed, index) -> None:
    other = ClipFolder(memory_mb=0).build(format=FORMAT, root=folder) if seed % 5 == 0 else plain
    a, b = draw(plain, index, seed), draw(other, index, seed)
    assert torch.equal(a.clip.frames, b.clip.frames)
    assert torch.equal(a.clip.waveform, b.clip.waveform)
    assert torch.equal(a.prompt.voice, b.prompt.voice)


def test_a_file_draws_as_much_as_any_other(plain) -> None:
    """So what comes after doesn't depend on the length of what came before."""
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    for index, generator in enumerate(generators):
        plain.example(index, generator)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_an_example_is_its_own(plain) -> None:
    """Nothing that a trainer does to an example in place reaches the next."""
    for index in range(2):
        example = draw(plain, index, 5)
        kept = [
            x.clone()
            for x in (
                example.clip.frames,
                example.clip.waveform,
                example.prompt.image,
                example.prompt.voice,
            )
        ]
        example.clip.frames.zero_()
        assert torch.equal(example.prompt.image, kept[2])
        for tensor in (example.clip.waveform, example.prompt.image, example.prompt.voice):
            tensor.zero_()
        again = draw(plain, index, 5)
        for want, got in zip(
            kept,
            (again.clip.frames, again.clip.waveform, again.prompt.image, again.prompt.voice),
            strict=True,
        ):
            assert torch.equal(want, got)


def test_voice_seconds_is_a_setting(folder) -> None:
    data = ClipFolder(voice_seconds=(0.1, 0.2)).build(format=FORMAT, root=folder)
    lengths = [len(draw(data, 0, seed).prompt.voice) for seed in range(20)]
    assert 800 <= min(lengths) < max(lengths) <= 1600


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read from disk from now on."""
    names: list[str] = []
    read = Clip.read.__func__  # type: ignore[attr-defined]

    def counted(cls, path, **options):
        names.append(Path(path).name)
        return read(cls, path, **options)

    monkeypatch.setattr(Clip, "read", classmethod(counted))
    return names


def test_files_stay_in_memory_up_to_its_limit(folder, monkeypatch) -> None:
    names = reads(monkeypatch)
    # bytes
    size = {
        "long.mkv": LONG * (16 * 24 * 3 + 800 * 4),
        "short.MKV": SHORT * (16 * 24 * 3 + 800 * 4),
    }
    for memory, want in (  # one byte more or less, for MB as a float
        (sum(size.values()) + 1, ["long.mkv", "short.MKV"]),
        (sum(size.values()) - 1, ["long.mkv", "short.MKV", "long.mkv", "short.MKV"]),
        # what doesn't fit puts nothing else out
        (size["short.MKV"] + 1, ["long.mkv", "short.MKV", "long.mkv", "long.mkv"]),
        (0, ["long.mkv", "short.MKV", "long.mkv", "long.mkv", "short.MKV"]),
    ):
        names.clear()
        data = ClipFolder(memory_mb=memory / 1e6).build(format=FORMAT, root=folder)
        for index in (0, 1, 0, 0, 1):
            draw(data, index, 0)
        assert names == want


def test_manifest_says_what_is_asked_for(listed) -> None:
    data = listed(
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
    assert seen(draw(data, 0, 0).clip.frames)[-1] == SHORT - 1
    assert draw(data, 0, 0).name == "within/short.MKV"


def test_what_is_the_caption_where_there_is_no_caption_column(listed) -> None:
    data = listed("file,what\nlong.mkv,a grey ramp\n")
    assert draw(data, 0, 0).prompt.caption == "a grey ramp"


def test_manifest_of_a_spreadsheet_reads_too(listed) -> None:
    data = listed("file, caption\r\nlong.mkv, ramp\r\n\r\n", encoding="utf-8-sig")
    assert len(data) == 1
    assert draw(data, 0, 0).prompt.caption == "ramp"


def test_manifest_can_be_left_aside(listed) -> None:
    assert len(listed("file\nlong.mkv\n")) == 1
    assert len(listed("file\nlong.mkv\n", manifest="")) == 2


@pytest.mark.parametrize(
    "name", ["../long.mkv", "within/../../x.mkv", "/etc/passwd", "", ".", "..", "within/.."]
)
def test_manifest_cannot_leave_the_folder(listed, name) -> None:
    with pytest.raises(
        MediaError, match=r"manifest\.csv, line 3: file .* isn't a file in the data folder"
    ):
        listed(f"file,caption\nlong.mkv,a\n{name},b\n")


def test_a_name_that_begins_with_dots_is_inside(listed, tmp_path) -> None:
    shutil.copy(tmp_path / "clips" / "long.mkv", tmp_path / "clips" / "..long.mkv")
    assert len(listed("file\n..long.mkv\n")) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,caption\nlong.mkv,a\n", "no column `file`; its first line names path, caption"),
        ("", "no columns"),
        ("file,caption\n", "lists no files"),
        ("file,caption\nlong.mkv,a,b\n", "line 2: has more cells than columns"),
        ('file,caption\nlong.mkv,"a\n', "isn't a CSV file"),
        ("file\na.mkv\nlong.mkv\nwithin/b.mkv\n", r"a\.mkv, .*within.b\.mkv"),
        ("file\nwithin\n", "aren't there: .*within"),
    ],
)
def test_bad_manifests_are_named(listed, text, says) -> None:
    with pytest.raises(MediaError, match=says) as error:
        listed(text)
    assert "manifest.csv" in str(error.value)


def test_a_manifest_in_another_encoding_is_named(listed) -> None:
    with pytest.raises(MediaError, match=r"manifest\.csv: isn't a CSV file in UTF-8"):
        listed("file,caption\nlong.mkv,é\n", encoding="latin-1")


def test_folders_that_cannot_be_read_are_named(folder, tmp_path) -> None:
    with pytest.raises(AssemblyError, match="--data DIR"):
        ClipFolder().build(format=FORMAT)
    with pytest.raises(MediaError, match="nowhere: no such folder"):
        ClipFolder().build(format=FORMAT, root=tmp_path / "nowhere")
    with pytest.raises(MediaError, match="is a file"):
        ClipFolder().build(format=FORMAT, root=folder / "long.mkv")
    with pytest.raises(MediaError, match=r"no files ending in \.mp4"):
        ClipFolder(extensions=("MP4",)).build(format=FORMAT, root=folder)
    with pytest.raises(MediaError, match=r"words\.csv: no such manifest"):
        ClipFolder(manifest="words.csv").build(format=FORMAT, root=folder)


def test_extensions_are_a_setting(folder) -> None:
    assert len(ClipFolder(extensions=["mkv"]).build(format=FORMAT, root=folder)) == 2
    assert ClipFolder(extensions=["mkv"]).extensions == (".mkv",)


@pytest.mark.parametrize("value", [(0.0, 1.0), (2.0, 1.0), (1.0,)])
def test_bad_voice_seconds_are_refused(value) -> None:
    with pytest.raises(ValueError, match="voice_seconds"):
        ClipFolder(voice_seconds=value)


def test_files_without_sound_or_picture_are_named(tmp_path) -> None:
    whole = counting(3)
    Clip(whole.frames, whole.fps, None, 8000).save(tmp_path / "a_mute.mkv")
    Clip(None, whole.fps, whole.waveform, 8000).save(tmp_path / "b_dark.wav")
    (tmp_path / "c_broken.mkv").write_bytes(b"no media at all")
    whole.save(tmp_path / "d_whole.mkv")
    spec, says = (
        ClipFolder(extensions=("mkv", "wav")),
        ["a_mute.mkv: has no sound", "b_dark.wav: has no picture", "c_broken.mkv: can't be read"],
    )
    data = spec.build(format=FORMAT, root=tmp_path)
    assert list(data.unreadable) == [0, 1, 2]
    assert all(said in cause for said, cause in zip(says, data.unreadable.values(), strict=True))
    assert draw(data, 3, 0).name == "d_whole.mkv"
    (tmp_path / "d_whole.mkv").unlink()
    with pytest.raises(MediaError, match=r"none of its files can be used \(3 in all\)") as error:
        spec.build(format=FORMAT, root=tmp_path)
    first, *faults = str(error.value).splitlines()
    assert first.startswith(str(tmp_path))
    assert all(said in fault for said, fault in zip(says, faults, strict=True))


def test_a_file_that_loses_its_sound_later_is_named(tmp_path) -> None:
    """Files may change while a run trains on them."""
    whole = counting(3)
    whole.save(tmp_path / "a.mkv")
    data = ClipFolder().build(format=FORMAT, root=tmp_path)
    Clip(whole.frames, whole.fps, None, 8000).save(tmp_path / "a.mkv")
    with pytest.raises(MediaError, match=r"a\.mkv: has no sound"):
        draw(data, 0, 0)


def test_the_real_clips(clips) -> None:
    form = Format(fps=Fraction(12), height=32, width=48, sample_rate=16000, seconds=3.5)
    data = ClipFolder().build(format=form, root=clips)
    entries = {entry.name: index for index, entry in enumerate(data.entries)}
    assert len(data) == len(set(entries))
    for name, speech in (("grid_bbaf2n.mpg", "bin blue at F two now"), ("mova_cat.mp4", None)):
        example = draw(data, entries[name], 0)
        assert example.prompt.speech == speech
        assert example.prompt.caption
        assert example.clip.frames.shape == (42, 32, 48, 3)
        assert example.clip.waveform.shape == (1, 56000)
        assert example.clip.waveform.abs().max() > 0.01
        assert example.clip.frames[0].float().std() > 5
        assert 16000 <= len(example.prompt.voice) <= 48000
    talk = draw(data, entries["grid_bbaf2n.mpg"], 0).clip  # 2.98 s
    assert torch.equal(talk.frames[-1], talk.frames[-6])
    assert not talk.waveform[0, -7000:].any()
