"""Unusual but real files: surround, low rates, deep colour, odd rates, NaN."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from harmony_parts.errors import MediaError
from harmony_parts.media.clip import MAX_RATE, Clip
from harmony_parts.media.ffmpeg import Limits

RunFFmpeg = Callable[..., bytes]
PICTURE = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=24:d=0.5")


def test_surround_keeps_its_channels_in_their_order(tmp_path: Path, run_ffmpeg: RunFFmpeg) -> None:
    """5.1: six levels, one a channel, lossless."""
    levels = torch.tensor([1, 2, 3, 4, 5, 6]) / 16
    wave = levels[:, None].expand(6, 24000).contiguous()
    source = Clip(waveform=wave, sample_rate=48000).save(tmp_path / "51.wav")
    run_ffmpeg(
        *PICTURE,
        "-channel_layout",
        "5.1",
        "-i",
        source,
        "-c:v",
        "ffv1",
        "-c:a",
        "flac",
        tmp_path / "51.mkv",
    )
    read = Clip.read(tmp_path / "51.mkv")
    assert read.waveform.shape == (6, 24000)
    assert torch.equal(read.waveform, wave)
    torch.testing.assert_close(read.mono(), levels.mean().expand(24000))


def test_sound_of_8_khz_keeps_its_rate_unless_another_is_requested(
    tmp_path: Path, run_ffmpeg: RunFFmpeg
) -> None:
    """8 kHz: read at its own rate unless another is requested, with the same duration."""
    run_ffmpeg(
        *PICTURE,
        "-f",
        "lavfi",
        "-i",
        "sine=f=500:r=8000:d=0.5",
        "-c:v",
        "ffv1",
        "-c:a",
        "pcm_mulaw",
        tmp_path / "x.mkv",
    )
    own, other = Clip.read(tmp_path / "x.mkv"), Clip.read(tmp_path / "x.mkv", sample_rate=16000)
    assert (own.waveform.shape, own.sample_rate) == ((1, 4000), 8000)
    assert (other.waveform.shape, other.sample_rate) == ((1, 8000), 16000)
    spectrum = torch.fft.rfft(other.waveform[0]).abs()
    assert int(spectrum.argmax()) == 250  # of 8000 samples in half a second: bins of 2 Hz


@pytest.mark.parametrize(
    ("pixels", "planes"),
    [
        ("rgb48le", [0x80FF] * 3 * 1024),
        ("gray16le", [0x80FF] * 1024),
        ("yuv420p10le", [502] * 1024 + [512] * 512),  # luma (502 / 4 - 16) / 219 = 0.5
    ],
)
def test_deep_colour_is_rounded_to_eight_bits(
    pixels: str, planes: list[int], tmp_path: Path, run_ffmpeg: RunFFmpeg
) -> None:
    """A flat grey of half the full scale, 32 x 32 pixels of 16 or 10 bits per channel."""
    (tmp_path / "x.raw").write_bytes(np.array(planes, "<u2").tobytes())
    form = ("-f", "rawvideo", "-pixel_format", pixels, "-video_size", "32x32", "-framerate", "24")
    run_ffmpeg(
        *form, "-i", tmp_path / "x.raw", "-c:v", "ffv1", "-pix_fmt", pixels, tmp_path / "x.mkv"
    )
    frames = Clip.read(tmp_path / "x.mkv").frames
    assert frames.shape == (1, 32, 32, 3)
    assert ((frames.int() - 128).abs() <= 1).all()


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_rate_of_29_97_is_30000_over_1001(
    suffix: str, tmp_path: Path, run_ffmpeg: RunFFmpeg, crashes: Callable[[Path], bool]
) -> None:
    path = tmp_path / f"x.{suffix}"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=30000/1001:d=1", path)
    if crashes(path):
        pytest.skip(f"this ffmpeg crashes on .{suffix}")
    read = Clip.read(path)
    assert (len(read.frames), read.fps) == (30, Fraction(30000, 1001))


@pytest.mark.parametrize("suffix", ["wav", "mkv"])
def test_sound_with_nan_or_infinity_is_refused(
    suffix: str, tmp_path: Path, run_ffmpeg: RunFFmpeg
) -> None:
    """With soundfile and with ffmpeg; the error has their number, the first time and the file."""
    values = np.full((8000, 1), 0.1, np.float32)
    values[[2000, 2001]] = [[np.nan], [np.inf]]
    soundfile.write(tmp_path / "x.wav", values, 8000, subtype="FLOAT")
    if suffix == "mkv":
        run_ffmpeg(
            *PICTURE,
            "-i",
            tmp_path / "x.wav",
            "-c:v",
            "ffv1",
            "-c:a",
            "pcm_f32le",
            tmp_path / "x.mkv",
        )
    with pytest.raises(
        MediaError,
        match=rf"x\.{suffix}: .* 2 of \d+ samples aren't finite numbers, the first at 0\.25 s",
    ):
        Clip.read(tmp_path / f"x.{suffix}")
    assert Clip.read(tmp_path / f"x.{suffix}", seconds=0.125).waveform.shape == (1, 1000)


def test_sounds_of_one_sample_and_of_none_are_read(tmp_path: Path) -> None:
    for samples in (0, 1):
        soundfile.write(tmp_path / "x.wav", np.zeros((samples, 1)), 8000)
        assert Clip.read(tmp_path / "x.wav").waveform.shape == (1, samples)


def test_a_video_without_packets_is_refused(tmp_path: Path, run_ffmpeg: RunFFmpeg) -> None:
    """The header lists a video stream that has no packet."""
    run_ffmpeg(*PICTURE, "-c:v", "ffv1", "-bsf:v", "noise=drop=1", tmp_path / "x.mkv")
    with pytest.raises(MediaError, match=r"x\.mkv: "):
        Clip.read(tmp_path / "x.mkv")


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data doesn't have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(64)))
        + chunk(b"IEND", b"")
    )


def wav(channels: int, rate: int, claim: int, data: bytes) -> bytes:
    """A WAV with any values in its header."""
    form = struct.pack(
        "<IHHIIHH",
        16,
        1,
        channels,
        rate & 0xFFFFFFFF,
        (rate * channels * 2) & 0xFFFFFFFF,
        (channels * 2) & 0xFFFF,
        16,
    )
    return (
        b"RIFF"
        + struct.pack("<I", (claim + 36) & 0xFFFFFFFF)
        + b"WAVEfmt "
        + form
        + b"data"
        + struct.pack("<I", claim)
        + data
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.png", png(60000, 60000)),
        ("y.png", png(2**31 - 1, 2**31 - 1)),
        ("z.png", png(16000, 8000)),
        ("x.y4m", b"YUV4MPEG2 W16000 H8000 F24:1 Ip A1:1 C420\nFRAME\n" + bytes(1000)),
        ("a.wav", wav(65535, 8000, 4000, bytes(4000))),
        ("b.wav", wav(1, 4_000_000_000, 4000, bytes(4000))),
        ("c.wav", wav(0, 8000, 4000, bytes(4000))),
        ("d.wav", wav(1, 0, 4000, bytes(4000))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_headers_with_absurd_values_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=name) as error:
        Clip.read(tmp_path / name, seconds=1)
    assert "Input #0" not in str(error.value), (
        "the message must be the cause, not ffmpeg's first line"
    )


def test_a_wrong_length_in_a_header_is_ignored(tmp_path: Path) -> None:
    """It claims 4 GB of 4000 bytes."""
    (tmp_path / "x.wav").write_bytes(wav(1, 8000, 0xFFFFFFF0, bytes(4000)))
    assert Clip.read(tmp_path / "x.wav").waveform.shape == (1, 2000)


def test_absurd_requests_are_refused_before_memory_is_allocated(
    tmp_path: Path, run_ffmpeg: RunFFmpeg
) -> None:
    wave = Clip(waveform=torch.zeros(1, 8000), sample_rate=8000).save(tmp_path / "x.wav")
    with pytest.raises(ValueError, match=f"at most {MAX_RATE} Hz"):
        Clip.read(wave, sample_rate=10**12)
    with pytest.raises(
        MediaError, match=r"x\.wav: 48000 samples at 48000 Hz take .* lower sample_rate"
    ):
        Clip.read(wave, sample_rate=48000, limits=Limits(bytes=100_000))
    run_ffmpeg(*PICTURE, tmp_path / "x.mp4")
    with pytest.raises(MediaError, match=r"x\.mp4: 12 frames of 1000000x1000000 take"):
        Clip.read(tmp_path / "x.mp4", height=10**6, width=10**6)


def test_names_that_no_regular_file_has_are_refused(tmp_path: Path) -> None:
    for name, cause in (
        ("a" * 5000 + ".mp4", "no such file"),
        ("a\0b.wav", "no such file"),
        ("/dev/zero", "isn't a regular file"),
    ):
        with pytest.raises(MediaError, match=cause):
            Clip.read(name)


@pytest.mark.parametrize(
    "name", ["a\nb.mp4", "  a b\t.mkv", "'a' \"b\".mp4", "a" * 240 + ".mp4", "x\n.wav"]
)
def test_names_may_have_spaces_quotes_and_line_breaks(name: str, tmp_path: Path) -> None:
    clip = Clip(torch.zeros(3, 16, 16, 3, dtype=torch.uint8), 24, torch.zeros(1, 6000), 48000)
    assert Clip.read(clip.save(tmp_path / name)).seconds == 0.125
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_metadata_is_stored_exactly(suffix: str, tmp_path: Path, run_ffmpeg: RunFFmpeg) -> None:
    """Any text, also one longer than a program's argument can be."""
    text = 'a = b; #c \\ "q"\nnew line é漢 ' + "x" * 200_000
    clip = Clip(torch.zeros(3, 16, 16, 3, dtype=torch.uint8), 24, torch.zeros(1, 6000), 48000)
    clip.save(tmp_path / f"x.{suffix}", metadata={"title": "1 = 1;\0", "comment": text})
    notes = run_ffmpeg("-i", tmp_path / f"x.{suffix}", "-f", "ffmetadata", "-").decode()
    escaped = text.translate({ord(c): "\\" + c for c in "=;#\\\n"})
    assert escaped in notes
    assert "1 \\= 1\\;\n" in notes
    assert Clip.read(tmp_path / f"x.{suffix}").seconds == 0.125
