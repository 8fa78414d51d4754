"""A given video or sound is copied into the output."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import attrs
import pytest
import torch
from helpers.media_truth import FLASHES, flash_and_click, flashes, shift
from torchaudio.functional import resample

from harmony_parts.errors import MediaError
from harmony_parts.media.clip import Clip
from harmony_parts.media.probe import probe
from harmony_parts.media.write import check_copy


def packets(run_ffmpeg: Callable[..., bytes], path: Path, stream: str) -> list[bytes]:
    """The MD5 of each packet, in decoding order."""
    out = run_ffmpeg(
        "-i", path, "-map", f"0:{stream}:0", "-c", "copy", "-f", "framehash", "-hash", "md5", "-"
    )
    return [line.split(b",")[5].strip() for line in out.splitlines() if not line.startswith(b"#")]


@pytest.fixture(scope="module")
def given_video(
    archive: Path, run_ffmpeg: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """H.264 with B-frames and AAC; the video begins a quarter second after the sound."""
    path = tmp_path_factory.mktemp("given") / "given.mp4"
    inputs = ["-itsoffset", 0.25, "-i", archive, "-i", archive]
    run_ffmpeg(
        *inputs,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-fps_mode",
        "passthrough",  # ffmpeg 7 would fill the quarter second with copies of the first frame
        "-c:v",
        "libx264",
        "-bf",
        3,
        "-c:a",
        "aac",
        "-ar",
        48000,
        path,
    )
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_given_video_is_copied_bit_for_bit(
    given_video: Path, suffix: str, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    ours = flash_and_click(sample_rate=48000)
    grey = attrs.evolve(ours, frames=torch.zeros_like(ours.frames))
    path = grey.save(tmp_path / f"x.{suffix}", copy_video_from=given_video)
    assert packets(run_ffmpeg, path, "v") == packets(run_ffmpeg, given_video, "v")
    clip = Clip.read(path)
    assert torch.equal(clip.frames, Clip.read(given_video).frames)
    assert flashes(clip) == FLASHES
    assert clip.fps == 24
    assert clip.waveform.shape == (1, 96000)
    assert abs(shift(clip.mono(), ours.mono(), 48000)) < 0.001


def test_a_longer_video_is_cut_to_the_clip(
    archive: Path, given_video: Path, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    ours = flash_and_click(sample_rate=48000, frames=44)
    short = Clip(None, 24, ours.waveform[:, :40000], 48000)  # 20 frames long
    path = short.save(tmp_path / "x.mp4", copy_video_from=archive)
    assert len(Clip.read(path).frames) == 20
    assert packets(run_ffmpeg, path, "v") == packets(run_ffmpeg, archive, "v")[:20]
    # B-frames refer to later frames: the first packets are kept, with at most a pyramid of three
    # B-frames beyond the length.
    path = short.save(tmp_path / "y.mp4", copy_video_from=given_video)
    copied = packets(run_ffmpeg, path, "v")
    assert copied == packets(run_ffmpeg, given_video, "v")[: len(copied)]
    assert 20 <= len(copied) <= 24
    assert torch.equal(Clip.read(path).frames[:20], Clip.read(given_video).frames[:20])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("kind", "codec", "copied"),
    [("m4a", "aac", True), ("opus", "libopus", True), ("mp3", "libmp3lame", False)],
)
def test_a_given_sound_is_copied_or_stored_losslessly(
    archive: Path,
    tmp_path: Path,
    run_ffmpeg: Callable[..., bytes],
    suffix: str,
    kind: str,
    codec: str,
    copied: bool,
) -> None:
    given = tmp_path / f"given.{kind}"
    run_ffmpeg("-i", archive, "-vn", "-ar", 48000, "-c:a", codec, given)
    picture = attrs.evolve(flash_and_click(), waveform=None)
    path = picture.save(tmp_path / f"x.{suffix}", copy_sound_from=given)
    assert (packets(run_ffmpeg, path, "a") == packets(run_ffmpeg, given, "a")) == copied
    clip, own = Clip.read(path), Clip.read(given)
    assert flashes(clip) == FLASHES
    assert clip.sample_rate == 48000
    # Copied packets decode to the same values (two Opus decoders: up to rounding); FLAC has 24
    # bits.
    late = shift(clip.mono(), own.mono(), 48000)
    assert 0 <= late <= 0.0005  # mkv has milliseconds, to which ffmpeg 7 rounds AAC's priming
    later = clip.waveform[:, round(late * 48000) :]
    length = min(later.shape[1], own.waveform.shape[1])
    assert (later[:, :length] - own.waveform[:, :length]).abs().max() <= 2**-20


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("kind", "subtype"), [("wav", "pcm_s16le"), ("wav", "pcm_s24le"), ("flac", "flac")]
)
def test_pcm_sound_is_stored_exactly(
    archive: Path,
    tmp_path: Path,
    run_ffmpeg: Callable[..., bytes],
    suffix: str,
    kind: str,
    subtype: str,
) -> None:
    given = tmp_path / f"given.{kind}"
    run_ffmpeg("-i", archive, "-vn", "-ar", 44100, "-ac", 2, "-t", 1.5, "-c:a", subtype, given)
    picture = attrs.evolve(flash_and_click(), waveform=None)
    clip = Clip.read(picture.save(tmp_path / f"x.{suffix}", copy_sound_from=given))
    own = Clip.read(given)
    assert clip.sample_rate == 44100
    assert clip.waveform.shape == (2, 88200)
    assert torch.equal(clip.waveform[:, : own.waveform.shape[1]], own.waveform)
    assert clip.waveform[:, own.waveform.shape[1] :].abs().max() == 0


def test_a_longer_sound_is_cut_to_the_clip(archive: Path, tmp_path: Path) -> None:
    picture = Clip(torch.zeros(12, 16, 16, 3, dtype=torch.uint8), 24)
    clip = Clip.read(picture.save(tmp_path / "x.mkv", copy_sound_from=archive), streams=("audio",))
    assert clip.waveform.shape == (1, 8000)
    assert torch.equal(clip.waveform, Clip.read(archive).waveform[:, :8000])


def test_video_and_sound_may_both_be_copied(
    given_video: Path, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    length = Clip(waveform=torch.zeros(1, 96000))
    path = length.save(tmp_path / "x.mp4", copy_video_from=given_video, copy_sound_from=given_video)
    assert packets(run_ffmpeg, path, "v") == packets(run_ffmpeg, given_video, "v")
    again, before = Clip.read(path), Clip.read(given_video)
    assert torch.equal(again.frames, before.frames)
    # The sound begins a quarter second before the picture; both files cut that.
    assert abs(shift(again.mono(), before.mono(), 48000)) < 0.001
    truth = resample(flash_and_click().mono(), 16000, 48000)
    assert abs(shift(before.mono(), truth, 48000) + 0.25) < 0.001


def test_streams_that_a_container_does_not_accept_are_refused(
    archive: Path, given_video: Path, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    clip = flash_and_click()
    old, silent = tmp_path / "old.mpg", tmp_path / "silent.mkv"
    run_ffmpeg("-i", archive, "-c:v", "mpeg1video", "-r", 25, "-c:a", "mp2", old)
    attrs.evolve(clip, waveform=None).save(silent)
    with pytest.raises(
        MediaError,
        match=r"old\.mpg: its mpeg1video video can't be copied into x\.mp4: .*--out x\.mkv",
    ):
        clip.save(tmp_path / "x.mp4", copy_video_from=old)
    assert probe(clip.save(tmp_path / "x.mkv", copy_video_from=old)).video.codec == "mpeg1video"
    with pytest.raises(MediaError, match=r"silent\.mkv: has no sound to copy"):
        clip.save(tmp_path / "x.mp4", copy_sound_from=silent)
    with pytest.raises(MediaError, match="copied streams need"):
        clip.save(tmp_path / "x.wav", copy_sound_from=old)
    cut = tmp_path / "cut.mp4"
    run_ffmpeg("-ss", 0.5, "-i", given_video, "-c", "copy", cut)
    with pytest.raises(MediaError, match=r"edit list hides its first frames.*--out y\.mp4"):
        clip.save(tmp_path / "y.mkv", copy_video_from=cut)
    copied = Clip.read(clip.save(tmp_path / "y.mp4", copy_video_from=cut))
    assert torch.equal(copied.frames, Clip.read(cut).frames)
    assert copied.fps == Fraction(24)


def test_check_copy_refuses_streams_before_a_clip_is_made(
    archive: Path, given_video: Path, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    """It suggests the other container only if that accepts the stream."""
    old, raw, cut = tmp_path / "old.mpg", tmp_path / "raw.avi", tmp_path / "cut.mov"
    run_ffmpeg("-i", archive, "-c:v", "mpeg1video", "-r", 25, "-an", old)
    run_ffmpeg("-i", archive, "-c:v", "rawvideo", "-pix_fmt", "bgr24", "-an", raw)
    with pytest.raises(
        MediaError, match=r"old\.mpg: its mpeg1video video .* x\.mp4: .*`--out x\.mkv`"
    ):
        check_copy(tmp_path / "x.mp4", copy_video_from=old)
    check_copy(tmp_path / "x.mkv", copy_video_from=old)
    for name in ("x.mp4", "x.mkv"):
        with pytest.raises(
            MediaError, match=r"raw\.avi: its rawvideo video .* x\.m..: .*convert it to H.264 first"
        ):
            check_copy(tmp_path / name, copy_video_from=raw)
    run_ffmpeg("-ss", 0.5, "-i", given_video, "-c", "copy", "-an", cut)
    with pytest.raises(MediaError, match=r"edit list .*`--out x\.mp4`"):
        check_copy(tmp_path / "x.mkv", copy_video_from=cut)
    check_copy(tmp_path / "x.mp4", copy_video_from=cut)
    with pytest.raises(MediaError, match=r"old\.mpg: has no sound to copy"):
        check_copy(tmp_path / "x.mp4", copy_sound_from=old)
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_a_clip_that_is_slightly_longer_keeps_every_frame(
    suffix: str, b_frames: int, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    """76 frames at 25 a second last 3.04 s; 37 at 12, the next whole number, 3.083 s."""
    given = tmp_path / "given.mp4"
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=64x48:r=25",
        "-frames:v",
        76,
        "-c:v",
        "libx264",
        "-bf",
        b_frames,
        given,
    )
    length = Fraction(37, 12)
    path = Clip(waveform=torch.full((1, 148000), 0.1)).save(
        tmp_path / f"x.{suffix}", copy_video_from=given
    )
    assert packets(run_ffmpeg, path, "v") == packets(run_ffmpeg, given, "v")
    clip = Clip.read(path)
    assert clip.fps == 25
    assert torch.equal(clip.frames, Clip.read(given).frames)
    sound = Clip.read(path, streams=("audio",)).waveform
    # ffmpeg 7 reads the last frame of AAC, 1024 samples, whole
    assert sound.shape[1] - length * 48000 in (0, -148000 % 1024)
    # the header has hundredths of a second
    assert abs(probe(path).seconds - length) < Fraction(1, 100)
