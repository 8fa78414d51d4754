"""Writing and reading each container: exact frames and lengths, sound within 1 ms."""

from __future__ import annotations

import resource
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.media_truth import FLASHES, flash_and_click, flashes, shift
from torchaudio.functional import resample

from harmony_parts.media.clip import Clip
from harmony_parts.media.probe import probe

NTSC = Fraction(30000, 1001)
CONTAINERS: list[tuple[str, dict[str, Any]]] = [
    ("mp4", {}),
    ("mp4", {"lossless_sound": True}),
    ("mkv", {}),
]


def lag(clip: Clip, truth: Clip) -> float:
    """Seconds by which the clip's sound lags the truth's."""
    return shift(
        clip.mono(), resample(truth.mono(), truth.sample_rate, clip.sample_rate), clip.sample_rate
    )


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), NTSC, Fraction(1437, 100)])
@pytest.mark.parametrize(("suffix", "options"), CONTAINERS)
def test_flashes_and_clicks_keep_their_times(
    suffix: str, options: dict[str, Any], fps: Fraction, tmp_path: Path
) -> None:
    truth = flash_and_click(fps)
    clip = Clip.read(truth.save(tmp_path / f"x.{suffix}", **options))
    rate = 48000 if suffix == "mp4" and not options else 16000
    assert clip.fps == fps
    assert clip.sample_rate == rate
    assert flashes(clip) == FLASHES
    assert len(clip.frames) == 48
    assert clip.waveform.shape == (1, round(48 / fps * rate))
    assert abs(lag(clip, truth)) < 0.001
    if rate == 16000:
        assert (clip.waveform - truth.waveform).abs().max() <= 2**-23
    resampled = Clip.read(tmp_path / f"x.{suffix}", sample_rate=22050)
    assert resampled.waveform.shape == (1, round(48 / fps * 22050))
    assert abs(lag(resampled, truth)) < 0.001


def test_mp4_files_have_the_form_that_players_expect(
    truth: Clip, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    path = truth.save(tmp_path / "x.mp4")
    video = probe(path).video
    assert (video.codec, video.pixels, video.matrix) == ("h264", "yuv420p", "bt709")
    assert probe(path).audio.codec == "aac"
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    packets = [
        line.split(b",")
        for line in run_ffmpeg(
            "-i", path, "-map", "0:v", "-c", "copy", "-f", "framecrc", "-"
        ).splitlines()
    ]
    stamps = [(int(p[1]), int(p[2])) for p in packets if len(p) > 5]
    assert len(stamps) == 48
    # no B-frames: the decoding order is the display order
    assert all(dts == pts for dts, pts in stamps)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("suffix", "options"), CONTAINERS)
def test_flat_colours_are_preserved(suffix: str, options: dict[str, Any], tmp_path: Path) -> None:
    levels = torch.tensor([16, 80, 128, 200, 240], dtype=torch.uint8)
    colours = torch.cartesian_prod(levels, levels, levels)[::7]
    frames = colours[:, None, None, :].expand(-1, 32, 32, -1).contiguous()
    clip = Clip.read(Clip(frames, 25).save(tmp_path / f"x.{suffix}", quality=1, **options))
    assert clip.waveform is None
    # Y, Cb, Cr in 8 bits of limited range are off by half a step each, and x264 at this quality by
    # at most one step more; BT.709 gives back B = 255/219 Y + 255/224 * 1.8556 Cb, the worst of the
    # three: 1.5 * (1.164 + 2.112) + 0.5 = 5.4.
    assert (clip.frames.int() - frames.int()).abs().max() <= 5


def test_untagged_video_is_bt601_if_small_and_bt709_if_large(
    tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    for lines, matrix in ((576, "bt601"), (720, "bt709")):
        path = tmp_path / f"{lines}.mkv"
        graph = f"scale=out_color_matrix={matrix}:out_range=limited,format=yuv420p,setparams=colorspace=unknown"  # noqa: E501
        run_ffmpeg(
            "-f",
            "lavfi",
            "-i",
            f"color=0x28C83C:s=1280x{lines}:r=25:d=0.08",
            "-vf",
            graph,
            "-c:v",
            "ffv1",
            path,
        )
        assert probe(path).video.matrix == "unknown"
        pixel = Clip.read(path).frames[0, 100, 100].int()
        # Half a step of Y and of a chroma: 0.5 * (1.164 + 2.112) + 0.5 = 2.1. The other matrix is
        # off by 13 and more.
        assert (pixel - torch.tensor([0x28, 0xC8, 0x3C])).abs().max() <= 3


@pytest.mark.parametrize("size", [(47, 63), (48, 63), (47, 64), (1, 1), (18, 34)])
def test_odd_sizes_are_extended_to_even_ones(size: tuple[int, int], tmp_path: Path) -> None:
    truth = flash_and_click(size=size)
    clip = Clip.read(truth.save(tmp_path / "x.mp4"))
    assert clip.frames.shape == (48, size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert flashes(clip) == FLASHES
    # the added corner is white in a white frame
    assert (clip.frames[6, -1, -1].int() - 255).abs().max() <= 5


def test_scaling_covers_the_size_and_crops_the_centre(tmp_path: Path) -> None:
    frames = torch.zeros(3, 60, 120, 3, dtype=torch.uint8)
    frames[:, :, 30:90] = 255  # the middle square is white
    path = Clip(frames, 25).save(tmp_path / "x.mkv")
    assert Clip.read(path, height=30).frames.shape == (3, 30, 60, 3)
    assert Clip.read(path, width=40).frames.shape == (3, 20, 40, 3)
    square = Clip.read(path, height=20, width=20).frames
    assert square.shape == (3, 20, 20, 3)
    assert square[:, :, 2:-2].min() > 230
    assert Clip.read(path, height=90, width=121).frames.shape == (3, 90, 121, 3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("offset", [0.25, -0.25, 0.01])
def test_sound_is_aligned_by_its_timestamps(
    archive: Path,
    truth: Clip,
    tmp_path: Path,
    run_ffmpeg: Callable[..., bytes],
    crashes: Callable[[Path], bool],
    suffix: str,
    offset: float,
) -> None:
    path = tmp_path / f"x.{suffix}"
    inputs = ["-i", archive, "-itsoffset", offset, "-i", archive]
    run_ffmpeg(
        *inputs,
        "-map",
        "0:v",
        "-map",
        "1:a",
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
    if crashes(path):
        pytest.skip(f"this ffmpeg crashes on .{suffix}")
    clip = Clip.read(path)
    assert flashes(clip) == FLASHES
    assert clip.waveform.shape == (1, 96000)
    assert abs(lag(clip, truth) - offset) < 0.001


@pytest.mark.parametrize(
    "flags", ["frag_keyframe+empty_moov", "frag_keyframe+delay_moov", "faststart"]
)
def test_b_frames_and_fragments_are_read(
    archive: Path, truth: Clip, tmp_path: Path, run_ffmpeg: Callable[..., bytes], flags: str
) -> None:
    path = tmp_path / "x.mp4"
    run_ffmpeg(
        "-i",
        archive,
        "-c:v",
        "libx264",
        "-bf",
        3,
        "-c:a",
        "aac",
        "-ar",
        48000,
        "-movflags",
        flags,
        path,
    )
    clip = Clip.read(path)
    assert flashes(clip) == FLASHES
    assert abs(lag(clip, truth)) < 0.001


def test_an_edit_list_in_the_middle_of_a_gop_is_applied(
    archive: Path, truth: Clip, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    long, cut = tmp_path / "long.mp4", tmp_path / "cut.mp4"
    run_ffmpeg("-i", archive, "-c:v", "libx264", "-bf", 3, "-c:a", "aac", "-ar", 48000, long)
    run_ffmpeg("-ss", 0.5, "-i", long, "-c", "copy", cut)
    clip = Clip.read(cut)
    assert flashes(clip) == tuple(flash - 12 for flash in FLASHES if flash >= 12)
    assert len(clip.frames) == 36
    later = Clip(truth.frames[12:], 24, truth.waveform[:, 8000:], 16000)
    assert abs(lag(clip, later)) < 0.001


def test_frames_of_a_variable_rate_are_placed_by_time(
    archive: Path, truth: Clip, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    path = tmp_path / "x.mkv"
    # All frames between the first two flashes are dropped, so the first flash is repeated there.
    keep = "select='not(between(n,7,14))',setpts=PTS"
    run_ffmpeg("-i", archive, "-vf", keep, "-fps_mode", "passthrough", "-c:a", "copy", path)
    clip = Clip.read(path, fps=24)
    assert len(clip.frames) == 48
    # the first flash lasts until the second
    assert flashes(clip) == (*range(6, 15), *FLASHES[1:])
    assert (
        torch.equal(clip.waveform, truth.waveform)
        or (clip.waveform - truth.waveform).abs().max() <= 2**-23
    )
    assert Clip.read(path).seconds == pytest.approx(2.0, abs=1 / 20)


@pytest.mark.parametrize("fps", [12, 48, NTSC])
def test_another_frame_rate_keeps_the_times(archive: Path, fps: Fraction, truth: Clip) -> None:
    clip = Clip.read(archive, fps=fps)
    fps = Fraction(fps)
    assert clip.fps == fps
    assert len(clip.frames) == round(2 * fps)
    assert clip.waveform.shape == (1, round(len(clip.frames) / fps * 16000))
    bright = flashes(clip)
    # A flash lasts one old frame; each new frame is within half a new one of its time.
    assert all(
        any(
            abs(at / fps - Fraction(flash, 24)) <= Fraction(1, 24) + 1 / fps / 2
            for flash in FLASHES
        )
        for at in bright
    )
    if fps >= 24:
        assert all(
            any(0 <= at / fps - Fraction(flash, 24) + 1 / fps / 2 <= 1 / fps for at in bright)
            for flash in FLASHES
        )


@pytest.mark.parametrize(("start", "seconds"), [(0, 0.5), (0.25, 1), (1.3, None), (0.625, 9)])
def test_reading_a_part_gives_that_part_of_the_whole(
    archive: Path, start: float, seconds: float | None
) -> None:
    whole = Clip.read(archive)
    part = Clip.read(archive, start=start, seconds=seconds)
    first = round(start * 24)
    last = 48 if seconds is None else min(48, first + round(seconds * 24))
    assert torch.equal(part.frames, whole.frames[first:last])
    at = round(Fraction(first, 24) * 16000)
    assert torch.equal(
        part.waveform, whole.waveform[:, at : at + round(Fraction(last - first, 24) * 16000)]
    )


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mpg"])
def test_seeking_equals_decoding_from_the_beginning(
    tmp_path: Path,
    run_ffmpeg: Callable[..., bytes],
    crashes: Callable[[Path], bool],
    suffix: str,
) -> None:
    path = tmp_path / f"x.{suffix}"
    codecs = (
        ["-c:v", "mpeg2video", "-c:a", "mp2"]
        if suffix == "mpg"
        else ["-c:v", "libx264", "-bf", 2, "-g", 100, "-c:a", "aac"]
    )
    sources = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=64x48:r=25:d=20",
        "-f",
        "lavfi",
        "-i",
        "aevalsrc='sin(200*t*t)':s=16000:d=20",
    ]
    run_ffmpeg(*sources, *codecs, path)
    if crashes(path):
        pytest.skip(f"this ffmpeg crashes on .{suffix}")
    whole, part = Clip.read(path), Clip.read(path, start=15, seconds=2)
    assert torch.equal(part.frames, whole.frames[375:425])
    # The noise filling and overlap of MP2 and AAC have states, even after ten seconds: compare to
    # 16-bit precision.
    assert (part.waveform - whole.waveform[:, 240000:272000]).abs().max() < 2**-10


def test_rotation_is_applied(
    archive: Path, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    path = tmp_path / "x.mp4"
    run_ffmpeg("-display_rotation", 90, "-i", archive, "-c", "copy", path)
    assert Clip.read(path).frames.shape == (48, 64, 48, 3)
    assert flashes(Clip.read(path)) == FLASHES


def test_a_gap_in_the_sound_is_silence(
    tmp_path: Path, truth: Clip, archive: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    path = tmp_path / "x.mkv"
    # Packets of about 0.26 s between 0.5 and 1 s are dropped; the later clicks must not move.
    run_ffmpeg("-i", archive, "-c", "copy", "-bsf:a", "noise=drop='between(pts*tb,0.4,1)'", path)
    clip = Clip.read(path)
    assert clip.waveform.abs().amax() > 0
    assert abs(shift(clip.waveform[0, 19000:], truth.waveform[0, 19000:], 16000)) < 0.001
    assert clip.waveform[0, 10000:16000].abs().max() == 0
    assert clip.waveform.shape == (1, 32000)


def test_a_timestamp_far_ahead_costs_no_memory(
    tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    """The sound jumps by 10,000 s: silence to the requested end, no buffer for the gap (1.9 GB)."""
    jump = "asetpts='if(gt(N,10),PTS+10000/TB,PTS)'"
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "sine=f=440:r=48000:d=1",
        "-af",
        jump,
        "-c:a",
        "pcm_s16le",
        tmp_path / "x.mkv",
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    read = Clip.read(tmp_path / "x.mkv", seconds=5)
    assert read.waveform.shape == (1, 240000)
    assert read.waveform[0, :10000].abs().max() > 0.1
    assert not read.waveform[0, 20000:].any()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= before + 400 * 1024  # kB


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.png"])
@pytest.mark.parametrize("fps", [1, 12, 24, 25])
def test_a_single_frame_is_read_at_any_rate(
    name: str, fps: int, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    """It lasts 1/25 s, less than half a frame at 12 frames per second or fewer."""
    path = tmp_path / name
    run_ffmpeg("-f", "lavfi", "-i", "color=0x28C83C:s=32x16:r=25", "-frames:v", 1, path)
    for options in ({}, {"seconds": 1}):
        clip = Clip.read(path, fps=fps, height=8, **options)
        assert clip.frames.shape == (1, 8, 16, 3)
        assert clip.fps == fps
        # half a step of Y and of a chroma, as above, and a step of x264
        assert (clip.frames[0, 4, 8].int() - torch.tensor([0x28, 0xC8, 0x3C])).abs().max() <= 5
