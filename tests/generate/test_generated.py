"""A generated clip behaves as a clip, and plays in a notebook."""

from __future__ import annotations

import base64
import re
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import harmony_parts.generate.generated as generated
from harmony_parts.errors import MediaError
from harmony_parts.generate.generated import Generated
from harmony_parts.media.clip import Clip

FRAMES = (torch.arange(12)[:, None, None, None] * 20).expand(12, 16, 24, 3).to(torch.uint8)
TONE = torch.sin(torch.arange(8000) / 8000 * 440 * 2 * torch.pi)[None] / 2
BOTH = Generated(Clip(FRAMES, 12, TONE, 8000))
SOUND = Generated(Clip(waveform=TONE, sample_rate=8000))


def test_it_has_what_its_clip_has() -> None:
    assert BOTH.frames is BOTH.clip.frames
    assert BOTH.waveform is BOTH.clip.waveform
    assert (BOTH.fps, BOTH.sample_rate, BOTH.seconds) == (Fraction(12), 8000, 1.0)
    assert torch.equal(BOTH.mono(), TONE[0])
    frames, waveform = BOTH.numpy()
    assert (frames == FRAMES.numpy()).all()
    assert (waveform == TONE.numpy()).all()


def test_its_repr_is_short() -> None:
    words = "Clip(12 frames of 24 x 16 at 12 fps, 1 s of mono sound at 8000 Hz)"
    assert repr(BOTH) == f"Generated({words})"
    assert repr(SOUND) == "Generated(Clip(1 s of mono sound at 8000 Hz))"
    dubbed = Generated(BOTH.clip, given_video=Path("a.mp4"))
    assert repr(dubbed) == f"Generated({words}, with the video of a.mp4)"


@pytest.mark.parametrize(
    ("made", "kind"), [(BOTH, "video/mp4"), (SOUND, "audio/flac")], ids=["video", "sound"]
)
def test_the_player_holds_the_clip(made: Generated, kind: str, tmp_path: Path) -> None:
    html = made._repr_html_()
    assert f"<code>{made!r}</code>" in html
    (media,) = re.findall(rf' src="data:{kind};base64,([^"]+)"', html)
    file = tmp_path / f"x.{kind[6:]}"
    file.write_bytes(base64.b64decode(media))
    back = Clip.read(file)
    assert back.seconds == 1.0
    assert (back.frames is None) == (made.frames is None)
    assert back.waveform is not None
    assert back.waveform.abs().max() > 0.4


def test_a_large_clip_shows_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "INLINE", 100)
    html = BOTH._repr_html_()
    assert "is too large (0 MB) to play here; save it as a file" in html
    assert "<video" not in html
    assert "data:image/png" in html


def test_without_ffmpeg_it_shows_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **settings: object) -> None:
        raise MediaError("no <ffmpeg> here")

    monkeypatch.setattr(Clip, "save", fails)
    html = BOTH._repr_html_()
    assert "can&#x27;t be played: no &lt;ffmpeg&gt; here" in html
    assert "data:image/png" in html
