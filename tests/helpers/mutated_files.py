"""Damaged media files: flipped bits, lost or repeated bytes, wrong headers, truncation, splices."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from harmony_parts.media import ffmpeg

Mutation = Callable[[bytearray, random.Random, Sequence[bytes]], bytearray]
HEADER = 512  # bytes at either end, where most containers have their header or index
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def flip(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> bytearray:
    """Flip up to 64 bits anywhere."""
    for _ in range(chance.randint(1, 64)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def corrupt_numbers(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> bytearray:
    """Replace up to 8 numbers of the header, or of the index at the end, by extreme ones."""
    for _ in range(chance.randint(1, 8)):
        size, order = chance.choice((1, 2, 4)), chance.choice(("big", "little"))
        near = max(0, min(HEADER, len(data)) - size)
        place = (
            chance.randint(0, near)
            if chance.random() < 0.7
            else max(0, len(data) - size - chance.randint(0, near))
        )
        data[place : place + size] = (chance.choice(NUMBERS) & (256**size - 1)).to_bytes(
            size, order
        )  # type: ignore[arg-type]
    return data


def cut(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> bytearray:
    """Truncate the file, sometimes to nothing."""
    return data[
        : chance.choice((0, 1, 16, chance.randrange(len(data)), chance.randrange(len(data))))
    ]


def lose(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> bytearray:
    """Remove bytes, or replace them by zeros or noise."""
    begin = chance.randrange(len(data))
    end = min(len(data), begin + chance.choice((1, 7, 100, 4096, len(data) // 4 + 1)))
    data[begin:end] = chance.choice((b"", bytes(end - begin), chance.randbytes(end - begin)))
    return data


def repeat(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> bytearray:
    """Repeat a range of bytes."""
    begin = chance.randrange(len(data))
    data[begin:begin] = data[begin : begin + chance.choice((4, 100, 4096))]
    return data


def splice(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> bytearray:
    """Continue with bytes of another file."""
    other = chance.choice(others)
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


MUTATIONS: tuple[Mutation, ...] = (flip, corrupt_numbers, cut, lose, repeat, splice)


def mutate(data: bytes, chance: random.Random, others: Sequence[bytes]) -> tuple[str, bytes]:
    """Apply one or two kinds of damage; returns their names and the result."""
    kinds = chance.sample(MUTATIONS, chance.choice((1, 1, 2)))
    damaged = bytearray(data)
    for kind in kinds:
        if damaged:
            damaged = kind(damaged, chance, others)
    return "+".join(kind.__name__ for kind in kinds), bytes(damaged)


def generated(folder: Path) -> list[Path]:
    """Write a small file of each common kind: half a second of a test picture and a tone."""
    picture, tone = (
        ("-f", "lavfi", "-i", "testsrc=s=48x32:r=24:d=0.5"),
        (
            "-f",
            "lavfi",
            "-i",
            "sine=f=440:r=16000:d=0.5",
        ),
    )
    both = (*picture, *tone)
    files: dict[str, tuple[str, ...]] = {
        "h264-aac.mp4": (*both, "-movflags", "+faststart"),
        "b-frames.mp4": (*both, "-bf", "2"),
        "edit-list.mov": ("-ss", "0.2", "-i", str(folder / "b-frames.mp4"), "-c", "copy"),
        "fragments.mp4": (*both, "-movflags", "frag_keyframe+empty_moov"),
        "rotated.mp4": (
            "-display_rotation",
            "90",
            "-i",
            str(folder / "h264-aac.mp4"),
            "-c",
            "copy",
        ),
        "flac.mkv": (*both, "-c:v", "libx264", "-c:a", "flac"),
        "deep.mkv": (*both, "-c:v", "ffv1", "-pix_fmt", "rgb48le", "-c:a", "pcm_f32le"),
        "surround.mkv": (*both, "-ac", "6", "-c:a", "ac3"),
        "vp9-opus.webm": (*both, "-ar", "48000", "-deadline", "realtime", "-cpu-used", "8"),
        "mpeg2.mpg": (*picture, "-f", "lavfi", "-i", "sine=f=440:r=44100:d=0.5"),
        "stream.ts": both,
        "old.avi": both,
        "tone.wav": tone,
        "tone.flac": tone,
        "tone.ogg": tone,
        "tone.mp3": tone,
        "tone.m4a": tone,
        "still.png": (*picture, "-frames:v", "1"),
        "still.jpg": (*picture, "-frames:v", "1"),
        "moving.gif": picture,
    }
    for name, args in files.items():
        command = [
            ffmpeg.executable(),
            "-hide_banner",
            "-loglevel",
            "error",
            "-y",
            *args,
            str(folder / name),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return [folder / name for name in files]
