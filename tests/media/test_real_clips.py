"""Every real clip has the size, rate and length of its manifest, and all decoded frames."""

from __future__ import annotations

import csv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from harmony_parts.media.clip import Clip


def test_every_clip_is_read_as_its_manifest_describes(
    clips: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    with open(clips / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 1
    for row in rows:
        path = clips / row["file"]
        height = 64
        clip = Clip.read(path, height=height)
        assert clip.frames.shape[1:] == (
            height,
            round(height * int(row["width"]) / int(row["height"])),
            3,
        ), path
        assert clip.fps == Fraction(row["fps"]).limit_denominator(1001), path
        assert (clip.waveform.shape[0], clip.sample_rate) == (
            int(row["channels"]),
            int(row["sample_rate"]),
        ), path
        assert clip.waveform.shape[1] == round(len(clip.frames) / clip.fps * clip.sample_rate), path
        assert clip.frames.float().std() > 5, path
        assert clip.waveform.abs().max() > 0.01, path
        # The manifest has the container's length, that of its longer stream: the sound may outlast
        # the picture by a few AAC frames.
        assert abs(clip.seconds - float(row["seconds"])) < 0.1, path
        packets = run_ffmpeg(
            "-i", path, "-map", "0:V:0", "-c", "copy", "-f", "framecrc", "-"
        ).splitlines()
        assert len(clip.frames) == sum(not line.startswith(b"#") for line in packets), path


def test_a_real_clip_at_full_size_is_written_and_read(clips: Path, tmp_path: Path) -> None:
    clip = Clip.read(clips / "mova_cat.mp4", seconds=2)
    assert clip.frames.shape == (48, 352, 624, 3)
    again = Clip.read(clip.save(tmp_path / "x.mp4"))
    assert again.frames.shape == clip.frames.shape
    # x264's CRF 17 gives about 40 dB; a wrong matrix or range would be below 30.
    error = (again.frames.float() - clip.frames.float()).square().mean()
    assert 10 * (255**2 / error).log10() > 35


def test_a_real_video_is_copied_with_a_new_sound(
    clips: Path, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    for name, suffix in (
        ("grid_bbaf2n.mpg", "mkv"),
        ("mova_cat.mp4", "mp4"),
        ("mova_cat.mp4", "mkv"),
    ):
        given = Clip.read(clips / name, height=32)
        ours = Clip(given.frames, given.fps, given.waveform.flip(1), given.sample_rate)
        path = ours.save(tmp_path / f"x.{suffix}", copy_video_from=clips / name)
        # hashes of the decoded frames
        hashes = ["-map", "0:V:0", "-f", "framehash", "-hash", "md5", "-"]
        pictures = [
            [
                line.split(b",")[5]
                for line in run_ffmpeg("-i", file, *hashes).splitlines()
                if not line.startswith(b"#")
            ]
            for file in (clips / name, path)
        ]
        assert pictures[0] == pictures[1], name
        assert Clip.read(path, height=32).fps == given.fps
        assert abs(Clip.read(path, height=32).seconds - given.seconds) < 1e-9
