"""Clips: pictures and sound of the same time span, read from and written to real files.

Shapes: T frames of H x W pixels, 3 colours (RGB); C sound channels of S samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from pathlib import Path

import attrs
import soundfile
import torch
from torch import Tensor

from harmony_parts.av import fraction
from harmony_parts.errors import MediaError
from harmony_parts.media import ffmpeg
from harmony_parts.media.ffmpeg import Limits
from harmony_parts.media.files import replace
from harmony_parts.media.read import at_rate, constant, read_frames, read_sound, sound_file
from harmony_parts.media.waveform import fit, write_sound_file
from harmony_parts.media.write import MUXERS, Content, write_container

LIMITS = Limits()
MAX_RATE = 1 << 20  # Hz that sound can be asked for in; no recording has more


@attrs.frozen(eq=False)
class Clip:
    """Pictures and sound of the same time span; either may be absent (`None`), which is not the
    same as black or mute.

    `frames` uint8 [T, H, W, 3] (RGB, T >= 1) at the constant rate `fps` (frames a second, exact):
    frame i lasts from i/fps to (i+1)/fps. `waveform` float32 [channels, samples] in -1..1 at
    `sample_rate` Hz; sample j is at j/sample_rate. Both begin at 0 s. Without frames `fps`, and
    without a waveform `sample_rate`, means nothing. Raises ValueError where a field has another
    shape or type.
    """

    frames: Tensor | None = None
    fps: Fraction = attrs.field(default=Fraction(24), converter=fraction)
    waveform: Tensor | None = None
    sample_rate: int = 48000

    def __attrs_post_init__(self) -> None:
        if self.fps <= 0:
            raise ValueError(f"Clip.fps must be above 0, not {self.fps}")
        if (
            isinstance(self.sample_rate, bool)
            or not isinstance(self.sample_rate, int)
            or self.sample_rate <= 0
        ):
            raise ValueError(
                f"Clip.sample_rate must be a whole number of Hz above 0, not {self.sample_rate!r}"
            )
        if self.frames is None and self.waveform is None:
            raise ValueError("a Clip needs frames, a waveform, or both")
        _check(
            "frames",
            self.frames,
            torch.uint8,
            "[T, H, W, 3] with T, H, W >= 1",
            lambda s: len(s) == 4 and s[3] == 3 and min(s) >= 1,
        )
        _check(
            "waveform",
            self.waveform,
            torch.float32,
            "[channels, samples] with channels >= 1",
            lambda s: len(s) == 2 and s[0] >= 1,
        )

    @property
    def seconds(self) -> float:
        """How long the clip lasts: its frames, or, without frames, its sound."""
        return float(self._length())

    def _length(self) -> Fraction:
        if self.frames is not None:
            return len(self.frames) / self.fps
        assert self.waveform is not None
        return Fraction(self.waveform.shape[1], self.sample_rate)

    def mono(self) -> Tensor:
        """[samples] float32: the mean of the channels. Raises ValueError where the clip has no
        sound.
        """
        if self.waveform is None:
            raise ValueError("this Clip has no sound")
        return self.waveform.mean(dim=0)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        fps: Fraction | float | None = None,
        height: int | None = None,
        width: int | None = None,
        sample_rate: int | None = None,
        start: float | Fraction = 0,
        seconds: float | Fraction | None = None,
        streams: Collection[str] | None = None,
        limits: Limits = LIMITS,
    ) -> Clip:
        """A clip from any media file: its first video and its first sound stream, as far as it has
        them, by their timestamps.

        Frames go onto a grid of constant rate (`fps`, or the file's own as an exact fraction) that
        begins at the first frame shown; a place of the grid holds the last frame whose time,
        rounded to the grid, is not later. The end is rounded to the grid as well, but the first
        frame always has a place. Edit lists and rotation are honoured. Without a size the stored
        pixels are given. With `height` and `width` the picture is scaled to cover that size,
        keeping its shape, and its centre is cut out; with one of them the other follows from its
        shape. The colour matrix is the tagged one; untagged video whose shorter side has 720 lines
        or more is taken for BT.709, the rest for BT.601.

        Sound keeps its channels, and its rate unless `sample_rate` is given (torchaudio resamples).
        It is placed against the first frame: what comes earlier is cut, a later beginning and gaps
        are silence, and it has exactly round(T / fps * sample_rate) samples.

        `start` (seconds) counts from the first frame and is rounded to the grid, or to a sample
        where no video is read; `seconds` is rounded to whole frames, and a shorter file gives a
        shorter clip. `streams` ("video", "audio", or both) says what is read, and has to be there.
        Raises MediaError, naming file and cause, where the file can't be read or exceeds `limits`.
        """
        path, start = Path(path), Fraction(start)
        span = None if seconds is None else Fraction(seconds)
        rate = None if fps is None else constant(Fraction(fps))
        if (
            start < 0
            or (span is not None and span <= 0)
            or any(n is not None and n < 1 for n in (height, width, sample_rate))
        ):
            raise ValueError(
                "start must not be negative; seconds, height, width and sample_rate must be above 0"
            )
        if sample_rate is not None and sample_rate > MAX_RATE:
            raise ValueError(f"sample_rate must be at most {MAX_RATE} Hz, not {sample_rate}")
        wanted = {"video", "audio"} if streams is None else set(streams)
        if not wanted or wanted - {"video", "audio"}:
            raise ValueError(f"streams must name 'video', 'audio' or both, not {streams!r}")
        if (streams is None or wanted == {"audio"}) and (
            found := sound_file(path, start, span, limits)
        ):
            return _sound_clip(path, *found, sample_rate, rate, limits)
        probe = ffmpeg.probe(path)
        for name, stream in (("video", probe.video), ("audio", probe.audio)):
            if streams is not None and name in wanted and stream is None:
                raise MediaError(f"{path}: has no {'sound' if name == 'audio' else 'video'}")
        video, audio = (
            probe.video if "video" in wanted else None,
            (probe.audio if "audio" in wanted else None),
        )
        if video is None:
            assert audio is not None
            origin = probe.video.start if probe.video else audio.start
            waveform = read_sound(path, audio, origin, start, span, limits)
            return _sound_clip(path, waveform, audio.sample_rate, sample_rate, rate, limits)
        rate = rate or constant(video.fps)
        first = round(start * rate)
        count = None if span is None else max(1, round(span * rate))
        frames = read_frames(probe, video, rate, first, count, (height, width), limits)
        if audio is None:
            return cls(frames, rate, None, sample_rate or 48000)
        length, own, asked = len(frames) / rate, audio.sample_rate, sample_rate or audio.sample_rate
        waveform = fit(
            read_sound(path, audio, video.start, first / rate, length, limits),
            round(length * own),
        )
        return cls(
            frames,
            rate,
            at_rate(path, waveform, own, asked, round(length * asked), limits),
            asked,
        )

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        copy_video_from: str | os.PathLike[str] | None = None,
        copy_sound_from: str | os.PathLike[str] | None = None,
        lossless_sound: bool = False,
        quality: float = 17,
        metadata: Mapping[str, str] | None = None,
        limits: Limits = LIMITS,
    ) -> Path:
        """Write the clip as the suffix says; returns the path.

        `.mp4`: H.264 without B-frames, 4:2:0, BT.709 (converted and tagged), odd sizes continued by
        their last row and column; AAC at 48 kHz (torchaudio resamples), or with `lossless_sound`
        FLAC at the sound's own rate; faststart. `.mkv`: the same video, always FLAC. FLAC has 16
        bits where they hold the sound, else 24. `.wav` (32-bit float), `.flac` (24 bits): the sound
        alone. `quality` is x264's CRF (lower is better and larger). Sound is cut or padded to the
        frames' length.

        `copy_video_from` names a file whose video stream is copied, bit for bit, in place of
        `frames`; `copy_sound_from` one whose sound is used in place of `waveform`: copied where it
        is AAC, Opus or AC-3 (in mkv also MP2 and Vorbis), else decoded and kept as FLAC at its own
        rate. Each is placed as `read` places it, and cut to the clip's length (video keeps the few
        later frames that its last ones need). A copied video that ends before the clip ends there,
        with all its frames; the sound goes on to the clip's length.
        `harmony_parts.media.write.check_copy`
        says beforehand whether a container takes a given stream.

        `metadata` is noted in an mp4 or mkv: "title", "comment" and "description" are what both of
        them, and players, know.

        The file appears whole or not at all. Raises MediaError, naming file and cause; ValueError
        where the sound isn't finite.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in (*MUXERS, ".wav", ".flac"):
            raise MediaError(
                f"{path}: can't write {suffix or 'a file without a suffix'}; choose .mp4, .mkv,"
                " .wav or .flac"
            )
        if not path.parent.is_dir():
            raise MediaError(f"{path}: its folder doesn't exist")
        if (
            self.waveform is not None
            and copy_sound_from is None
            and not self.waveform.isfinite().all()
        ):
            raise ValueError("Clip.waveform holds values that aren't finite")
        if suffix not in MUXERS and (
            self.waveform is None or copy_video_from is not None or copy_sound_from is not None
        ):
            cause = (
                "the clip has no sound"
                if self.waveform is None
                else "copied streams need .mp4 or .mkv"
            )
            raise MediaError(f"{path}: can't be written: {cause}")
        length = self._length()
        content = Content(path, length, self.frames, self.fps, self.waveform, self.sample_rate)

        def write(part: Path) -> None:
            if suffix in MUXERS:
                write_container(
                    part,
                    content,
                    copy_video_from=copy_video_from,
                    copy_sound_from=copy_sound_from,
                    lossless=lossless_sound or suffix == ".mkv",
                    quality=quality,
                    metadata=metadata or {},
                    limits=limits,
                )
            else:
                assert self.waveform is not None
                waveform = fit(self.waveform.detach().cpu(), round(length * self.sample_rate))
                write_sound_file(part, waveform, self.sample_rate)

        try:
            replace(path, write)
        except (OSError, soundfile.LibsndfileError) as error:
            raise MediaError(f"{path}: can't be written: {error}") from error
        return path


def _check(
    field: str,
    value: object,
    dtype: torch.dtype,
    want: str,
    fits: Callable[[tuple[int, ...]], bool],
) -> None:
    if value is None:
        return
    if not isinstance(value, Tensor):
        raise ValueError(
            f"Clip.{field} must be a torch tensor {want} of {dtype}, not {type(value).__name__}"
        )
    if value.dtype != dtype or not fits(tuple(value.shape)):
        raise ValueError(
            f"Clip.{field} must be {want} of {dtype}, not {list(value.shape)} of {value.dtype}"
        )


def _sound_clip(
    path: Path, waveform: Tensor, own: int, asked: int | None, fps: Fraction | None, limits: Limits
) -> Clip:
    rate = asked or own
    samples = round(Fraction(waveform.shape[1], own) * rate)
    return Clip(
        None, fps or Fraction(24), at_rate(path, waveform, own, rate, samples, limits), rate
    )
