"""A folder of clips: its files and texts, and random cuts that keep picture and sound aligned."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest
import torch
from helpers.counting_clips import (
    FORMAT,
    LONG,
    SHORT,
    counting,
    draw,
    frame_numbers,
    sample_frames,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_parts.assembly.read import RECIPE
from harmony_parts.data.clips import ClipFolder
from harmony_parts.errors import AssemblyError, MediaError
from harmony_parts.media.clip import Clip
from harmony_parts.references.non_overlapping import NonOverlapping
from harmony_parts.references.other_utterance import OtherUtterance
from harmony_parts.references.own_cut import OwnCut


@pytest.fixture(scope="module")
def plain(folder: Path):
    return ClipFolder().build(format=FORMAT, root=folder)


def test_clips_of_a_run_are_no_recordings(folder: Path, tmp_path: Path) -> None:
    """Such as the previews of one that was trained where the recordings are."""
    root = shutil.copytree(folder, tmp_path / "clips")
    samples = root / "runs" / "clips" / "samples" / "100"
    samples.mkdir(parents=True)
    shutil.copy(root / "long.mkv", samples)
    assert len(ClipFolder(manifest="").build(format=FORMAT, root=root)) == 3
    (root / "runs" / "clips" / RECIPE).touch()
    assert len(ClipFolder(manifest="").build(format=FORMAT, root=root)) == 2
    assert len(ClipFolder(manifest="").build(format=FORMAT, root=root / "runs" / "clips")) == 1


def test_without_a_manifest_every_media_file_is_an_example(plain) -> None:
    assert len(plain) == 2
    assert [draw(plain, i, 0).name for i in range(2)] == ["long.mkv", "within/short.MKV"]
    prompt = draw(plain, 0, 0).prompt
    assert (prompt.caption, prompt.sound, prompt.speech) == (None, None, None)
    assert draw(plain, 0, 0).events is None


@given(seed=st.integers(0, 10**6))
def test_picture_and_sound_of_a_cut_are_aligned(plain, seed) -> None:
    example = draw(plain, 0, seed)
    clip = example.clip
    assert clip.fps == 10
    assert clip.sample_rate == 8000
    assert clip.frames.shape == (10, 16, 24, 3)
    assert clip.waveform.shape == (1, 8000)
    first = frame_numbers(clip.frames)[0]
    assert 0 <= first <= LONG - 10
    assert frame_numbers(clip.frames) == list(range(first, first + 10))
    assert torch.equal(
        sample_frames(clip.mono()), torch.arange(first, first + 10).repeat_interleave(800).float()
    )
    assert torch.equal(example.prompt.image, clip.frames[0])
    voice = example.prompt.voice[0]
    assert voice.dtype == torch.float32
    assert 8000 <= len(voice) <= 20000  # 1 s to 3 s, at most the whole file
    assert sample_frames(voice).min() >= 0
    assert (voice.diff() >= 0).all()  # a contiguous piece of the ramp


def test_cuts_and_voices_reach_both_ends_and_are_uniform(plain) -> None:
    """400 cuts with 16 possible starts: 25 expected for each; fewer than 6 or more than 52 anywhere
    has a probability below 1e-4 (binomial).
    """
    generator = torch.Generator().manual_seed(0)
    examples = [plain.example(0, generator) for _ in range(400)]
    counts = torch.bincount(
        torch.tensor([frame_numbers(e.clip.frames[:1])[0] for e in examples]), minlength=16
    )
    assert len(counts) == 16
    assert counts.min() >= 6
    assert counts.max() <= 52
    voices = [e.prompt.voice[0] for e in examples]
    assert min(sample_frames(v)[0] for v in voices) == 0
    assert max(sample_frames(v)[-1] for v in voices) == LONG - 1
    assert min(map(len, voices)) < 9000
    assert max(map(len, voices)) == 20000


def test_a_short_file_repeats_its_last_frame_in_silence(plain) -> None:
    example = draw(plain, 1, 3)
    assert frame_numbers(example.clip.frames) == [0, 1, 2, 3] + [3] * 6
    assert torch.equal(
        sample_frames(example.clip.mono()),
        torch.tensor([0.0, 1, 2, 3] + [-1] * 6).repeat_interleave(800),
    )
    assert example.prompt.voice.shape[1] == SHORT * 800  # no silence in the voice


@given(seed=st.integers(0, 10**6), index=st.integers(0, 1))
@settings(max_examples=10)
def test_the_same_generator_state_gives_the_same_example(plain, folder, seed, index) -> None:
    other = ClipFolder(memory_mb=0).build(format=FORMAT, root=folder) if seed % 5 == 0 else plain
    a, b = draw(plain, index, seed), draw(other, index, seed)
    assert torch.equal(a.clip.frames, b.clip.frames)
    assert torch.equal(a.clip.waveform, b.clip.waveform)
    assert torch.equal(a.prompt.voice, b.prompt.voice)


def test_every_file_draws_the_same_amount_of_randomness(plain) -> None:
    """So an example doesn't depend on the lengths of earlier files."""
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    for index, generator in enumerate(generators):
        plain.example(index, generator)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_in_place_changes_to_an_example_do_not_reach_the_next(plain) -> None:
    for index in range(2):
        example = draw(plain, index, 5)
        copies = [
            x.clone()
            for x in (
                example.clip.frames,
                example.clip.waveform,
                example.prompt.image,
                example.prompt.voice,
            )
        ]
        example.clip.frames.zero_()
        assert torch.equal(example.prompt.image, copies[2])
        for tensor in (example.clip.waveform, example.prompt.image, example.prompt.voice):
            tensor.zero_()
        again = draw(plain, index, 5)
        for want, got in zip(
            copies,
            (again.clip.frames, again.clip.waveform, again.prompt.image, again.prompt.voice),
            strict=True,
        ):
            assert torch.equal(want, got)


def test_a_cut_has_the_formats_channels(tmp_path) -> None:
    """Left and right of a stereo file, and their mean in a mono format; mono files are copied."""
    mono = counting(LONG)
    both = torch.cat([mono.waveform, -0.5 * mono.waveform])
    attrs.evolve(mono, waveform=both).save(tmp_path / "a.mkv")
    mono.save(tmp_path / "b.mkv")
    examples = {
        channels: [
            draw(ClipFolder().build(format=format, root=tmp_path), index, 7) for index in (0, 1)
        ]
        for channels in (1, 2)
        if (format := attrs.evolve(FORMAT, channels=channels))
    }
    for sound in (lambda example: example.clip.waveform, lambda example: example.prompt.voice):
        left, right = sound(examples[2][0])
        assert torch.equal(right, -0.5 * left)
        assert torch.equal(sound(examples[1][0]), 0.25 * left[None])
        assert torch.equal(sound(examples[2][1]), sound(examples[1][1]).repeat(2, 1))
        assert sound(examples[1][1]).any()


def test_the_reference_sets_the_length_of_voices(folder) -> None:
    data = ClipFolder(reference=OwnCut((0.1, 0.2))).build(format=FORMAT, root=folder)
    lengths = [draw(data, 0, seed).prompt.voice.shape[1] for seed in range(20)]
    assert 800 <= min(lengths) < max(lengths) <= 1600


def test_voices_are_the_pieces_that_their_reference_drew(folder) -> None:
    """Sample by sample, from anywhere in the file."""
    data = ClipFolder(reference=OwnCut((0.5, 1.0))).build(format=FORMAT, root=folder)
    begun = set()
    for seed in range(60):
        example = draw(data, 0, seed)
        first, end = example.reference.samples(8000)
        assert example.reference.recording == 0
        wanted = torch.arange(first, end) // 800
        assert torch.equal(sample_frames(example.prompt.voice[0]), wanted.float())
        begun.add(first // 800)
    assert min(begun) <= 1
    assert max(begun) >= 17  # of at most 19
    assert len(begun) > 12


def test_a_reference_beside_its_clip_has_none_of_it(folder) -> None:
    """The ramp's levels of clip and voice, over 200 draws of a file of 2.5 s with clips of 1 s."""
    data = ClipFolder(reference=NonOverlapping((0.2, 3.0))).build(format=FORMAT, root=folder)
    sides = set()
    for seed in range(200):
        example = draw(data, 0, seed)
        clip, voice = sample_frames(example.clip.mono()), sample_frames(example.prompt.voice[0])
        assert voice.max() < clip.min() or voice.min() > clip.max()
        assert len(voice) >= 1600
        sides.add(bool(voice.max() < clip.min()))
    assert sides == {True, False}
    assert draw(data, 1, 0).prompt.voice is None  # the short file is all clip


def test_a_reference_is_another_utterance_of_the_speaker(with_manifest) -> None:
    data = with_manifest(
        "file,speaker\nlong.mkv,ann\nwithin/short.MKV, ann \nwithin/short.MKV,bob\n",
        reference=OtherUtterance((0.1, 0.2)),
    )
    example = draw(data, 0, 0)
    assert (example.origin.recording, example.reference.recording) == (0, 1)
    first, end = example.reference.samples(8000)
    wanted = (torch.arange(first, end) // 800).float()
    found = sample_frames(example.prompt.voice[0])
    assert abs(len(found) - len(wanted)) <= 16  # timestamps of the file are milliseconds
    assert (found[50:-50] - wanted[50 : len(found) - 50]).abs().max() <= 1
    assert draw(data, 1, 0).reference.recording == 0
    assert draw(data, 2, 0).prompt.voice is None  # bob has one file
    more = data.sound(attrs.evolve(example.reference, begin=0.0, end=0.1))
    assert more.shape == (1, 800)
    before = data.fingerprint(1)
    counting(LONG - 1).save(data.entries[0].path)
    assert data.fingerprint(1) != before  # its reference may be another now


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that collects the names of the files read from now on."""
    names: list[str] = []
    read = Clip.read.__func__  # type: ignore[attr-defined]

    def counted(cls, path, **options):
        names.append(Path(path).name)
        return read(cls, path, **options)

    monkeypatch.setattr(Clip, "read", classmethod(counted))
    return names


def test_files_are_cached_up_to_the_memory_limit(folder, monkeypatch) -> None:
    names = reads(monkeypatch)
    # bytes
    size = {
        "long.mkv": LONG * (16 * 24 * 3 + 800 * 4),
        "short.MKV": SHORT * (16 * 24 * 3 + 800 * 4),
    }
    for memory, want in (  # one byte more or less, for MB as a float
        (sum(size.values()) + 1, ["long.mkv", "short.MKV"]),
        (sum(size.values()) - 1, ["long.mkv", "short.MKV", "long.mkv", "short.MKV"]),
        # a file that doesn't fit evicts no other
        (size["short.MKV"] + 1, ["long.mkv", "short.MKV", "long.mkv", "long.mkv"]),
        (0, ["long.mkv", "short.MKV", "long.mkv", "long.mkv", "short.MKV"]),
    ):
        names.clear()
        data = ClipFolder(memory_mb=memory / 1e6).build(format=FORMAT, root=folder)
        for index in (0, 1, 0, 0, 1):
            draw(data, index, 0)
        assert names == want


def test_a_file_as_large_as_the_memory_fits(folder, monkeypatch) -> None:
    names, size = reads(monkeypatch), LONG * (16 * 24 * 3 + 800 * 4)
    data = ClipFolder(memory_mb=size / 1e6).build(format=FORMAT, root=folder)
    assert data.spec.memory_mb * 1e6 == size  # exact as a float
    for _ in range(2):
        draw(data, 0, 0)
    assert names == ["long.mkv"]


def test_unusable_folders_are_named(folder, tmp_path) -> None:
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


def test_extensions_choose_the_files(folder) -> None:
    assert len(ClipFolder(extensions=["mkv"]).build(format=FORMAT, root=folder)) == 2
    assert ClipFolder(extensions=["mkv"]).extensions == (".mkv",)


def test_files_without_sound_or_picture_are_named(tmp_path) -> None:
    whole = counting(3)
    Clip(whole.frames, whole.fps, None, 8000).save(tmp_path / "a_mute.mkv")
    Clip(None, whole.fps, whole.waveform, 8000).save(tmp_path / "b_dark.wav")
    (tmp_path / "c_broken.mkv").write_bytes(b"no media at all")
    whole.save(tmp_path / "d_whole.mkv")
    spec = ClipFolder(extensions=("mkv", "wav"))
    causes = [
        "a_mute.mkv: has no sound",
        "b_dark.wav: has no picture",
        "c_broken.mkv: can't be read",
    ]
    data = spec.build(format=FORMAT, root=tmp_path)
    assert list(data.unreadable) == [0, 1, 2]
    assert all(map(str.__contains__, data.unreadable.values(), causes))
    assert draw(data, 3, 0).name == "d_whole.mkv"
    (tmp_path / "d_whole.mkv").unlink()
    with pytest.raises(MediaError, match=r"none of its files can be used \(3 in all\)") as error:
        spec.build(format=FORMAT, root=tmp_path)
    first, *faults = str(error.value).splitlines()
    assert first.startswith(str(tmp_path))
    assert len(faults) == len(causes)
    assert all(map(str.__contains__, faults, causes))


def test_a_file_that_loses_its_sound_later_is_named(tmp_path) -> None:
    """Files may change while a run trains on them."""
    whole = counting(3)
    whole.save(tmp_path / "a.mkv")
    data = ClipFolder().build(format=FORMAT, root=tmp_path)
    Clip(whole.frames, whole.fps, None, 8000).save(tmp_path / "a.mkv")
    with pytest.raises(MediaError, match=r"a\.mkv: has no sound"):
        draw(data, 0, 0)
