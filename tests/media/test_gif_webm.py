"""GIF and WebM: written, read, and copied from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harmony_parts.errors import MediaError
from harmony_parts.media.clip import Clip
from harmony_parts.media.probe import probe


def moving(fps: int, channels: int = 1) -> Clip:
    """Half a second of a bar that moves over grey, with a tone."""
    frames = torch.full((fps // 2, 34, 50, 3), 40, dtype=torch.uint8)
    for k, frame in enumerate(frames):
        frame[:, 2 * k : 2 * k + 6] = torch.tensor([230, 120, 20], dtype=torch.uint8)
    wave = 0.3 * torch.sin(torch.arange(24000) / 10).expand(channels, -1)
    return Clip(frames, fps, wave, 48000)


def difference(a: Clip, b: Clip) -> float:
    assert a.frames is not None
    assert b.frames is not None
    assert a.frames.shape == b.frames.shape
    return float((a.frames.float() - b.frames.float()).abs().mean())


@pytest.mark.parametrize("channels", [1, 2])
def test_webm_holds_vp9_and_opus(tmp_path: Path, channels: int) -> None:
    clip = moving(24, channels)
    path = clip.save(tmp_path / "a.webm", metadata={"title": "bar"})
    found = probe(path)
    assert found.video is not None
    assert found.audio is not None
    assert (found.video.codec, found.audio.codec) == ("vp9", "opus")
    read = Clip.read(path, fps=24)
    assert read.frames is not None
    assert read.waveform is not None
    assert read.waveform.shape == (channels, 24000)
    assert (read.frames.float() - clip.frames.float()).abs().mean() < 4  # type: ignore[union-attr]
    error = (read.waveform - clip.waveform).square().mean() / clip.waveform.square().mean()  # type: ignore[operator,union-attr]
    assert error < 0.05
    with pytest.raises(MediaError, match=r"can't keep sound without loss; write .mp4 or .mkv"):
        clip.save(tmp_path / "b.webm", lossless_sound=True)
    # VP9 is copied into each container that holds it
    for suffix in ("webm", "mkv", "mp4"):
        copied = clip.save(tmp_path / f"c.{suffix}", copy_video_from=path)
        assert difference(Clip.read(copied, fps=24), read) == 0


def test_a_gif_has_the_frames_and_no_sound(tmp_path: Path) -> None:
    clip = moving(10)
    with pytest.warns(UserWarning, match="a GIF has no sound") as caught:
        path = clip.save(tmp_path / "a.gif")
    assert caught[0].filename == __file__
    read = Clip.read(path)
    assert read.waveform is None
    assert read.fps == 10
    assert difference(read, clip) < 6
    with pytest.raises(MediaError, match="can't be written: the clip has no frames"):
        Clip(None, 10, clip.waveform, 48000).save(tmp_path / "b.gif")


def test_a_gif_as_a_given_video_is_encoded(tmp_path: Path) -> None:
    """With its own size, in every container."""
    clip = moving(10)
    gif = Clip(clip.frames, 10, None, 48000).save(tmp_path / "a.gif")
    read = Clip.read(gif)
    for suffix in ("mp4", "mkv", "webm"):
        path = clip.save(tmp_path / f"b.{suffix}", copy_video_from=gif)
        found = Clip.read(path, fps=10)
        assert found.frames is not None
        assert found.waveform is not None
        cut = Clip(found.frames, 10, None, 48000)
        assert difference(cut, read) < 6
