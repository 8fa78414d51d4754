"""Clips: frames and sound of the same time span, read from and written to media files."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import soundfile
import torch
from torch import Tensor

from harmony_parts.av import as_tensor, channel_layout, fraction
from harmony_parts.display.html import clip_html
from harmony_parts.errors import MediaError, warn_caller
from harmony_parts.media.ffmpeg import Limits, frame_rate
from harmony_parts.media.files import cause_on_disk, replace
from harmony_parts.media.probe import probe
from harmony_parts.media.read import at_rate, in_channels, read_frames, read_sound, sound_file
from harmony_parts.media.waveform import fit, to_channels, write_sound_file
from harmony_parts.media.write import MUXERS, Content, write_container

if TYPE_CHECKING:
    from numpy import ndarray

    from harmony_parts.av import Array, Picture

LIMITS = Limits()
MAX_RATE = 1 << 20  # Hz, the highest `sample_rate` to resample to; no recording has more


def _frames_tensor(frames: Array | Sequence[Picture] | None) -> Tensor | None:
    """[T, H, W, 3]: frames as they are, or single ones of equal size."""
    if not isinstance(frames, list | tuple) or not frames:
        return as_tensor(frames)  # type: ignore[arg-type]  # an empty list is refused below
    each = [as_tensor(frame) for frame in frames]
    sizes = {tuple(frame.shape) if isinstance(frame, Tensor) else None for frame in each}
    if len(sizes) > 1 or None in sizes:
        raise ValueError("the frames of a list must be pictures, arrays or tensors of one size")
    return torch.stack(each)  # type: ignore[arg-type]


@attrs.frozen(eq=False)
class Clip:
    """Frames and sound of the same time span; either may be absent (`None`).

    `frames` uint8 [T, H, W, 3] (RGB, T >= 1) at the constant, exact rate `fps`: frame i lasts from
    i/fps to (i+1)/fps. `waveform` float32 [channels, samples] in -1..1 at `sample_rate` Hz; sample
    j is at j/sample_rate. Both begin at 0 s. Absent isn't the same as black or mute; `fps` or
    `sample_rate` of an absent stream has no meaning. Numpy arrays become tensors, and so do PIL
    pictures, of which `frames` takes a list. Raises ValueError if a field has another shape or
    type.
    """

    frames: Tensor | None = attrs.field(default=None, converter=_frames_tensor)
    fps: Fraction = attrs.field(default=Fraction(24), converter=fraction)
    waveform: Tensor | None = attrs.field(default=None, converter=as_tensor)
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

    def __repr__(self) -> str:
        """The shape of each stream, in words."""
        pieces = []
        if self.frames is not None:
            count, height, width = self.frames.shape[:3]
            plural, rate = "s" if count > 1 else "", f"{float(self.fps):.6g} fps"
            pieces.append(f"{count} frame{plural} of {width} x {height} at {rate}")
        if self.waveform is not None:
            channels, samples = self.waveform.shape
            length = f"{samples / self.sample_rate:.4g} s of {channel_layout(channels)} sound"
            pieces.append(f"{length} at {self.sample_rate} Hz")
        return f"Clip({', '.join(pieces)})"

    def _repr_html_(self) -> str:
        """In a notebook: some frames above the waveform."""
        frames, _ = self.numpy()
        samples = None if self.waveform is None else self.mono().detach().cpu().numpy()
        return clip_html(repr(self), frames, samples)

    def numpy(self) -> tuple[ndarray[Any, Any] | None, ndarray[Any, Any] | None]:
        """(frames, waveform) as numpy arrays, of the same shapes and types; None if absent.

        Those on the CPU share their memory with the clip.
        """
        frames, sound = self.frames, self.waveform
        return (
            None if frames is None else frames.detach().cpu().numpy(),
            None if sound is None else sound.detach().cpu().numpy(),
        )

    @property
    def seconds(self) -> float:
        """Duration of the frames, or of the sound if there are no frames."""
        return float(self._length())

    def _length(self) -> Fraction:
        if self.frames is not None:
            return len(self.frames) / self.fps
        assert self.waveform is not None
        return Fraction(self.waveform.shape[1], self.sample_rate)

    def mono(self) -> Tensor:
        """[samples] float32: the mean of the channels. Raises ValueError without sound."""
        if self.waveform is None:
            raise ValueError("this Clip has no sound")
        return self.waveform.mean(dim=0)

    def with_channels(self, channels: int) -> Clip:
        """A copy whose sound has so many channels.

        Mono becomes equal copies, several channels become mono by their mean, and 5.1 becomes
        stereo (see `harmony_parts.media.waveform.to_channels`). Raises ValueError without sound,
        and for other numbers.
        """
        if self.waveform is None:
            raise ValueError("this Clip has no sound")
        return attrs.evolve(self, waveform=to_channels(self.waveform, channels))

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        fps: Fraction | float | None = None,
        height: int | None = None,
        width: int | None = None,
        sample_rate: int | None = None,
        channels: int | None = None,
        start: float | Fraction = 0,
        seconds: float | Fraction | None = None,
        streams: Collection[str] | None = None,
        limits: Limits = LIMITS,
    ) -> Clip:
        """Read the first video and the first sound stream of any media file, by their timestamps.

        Frames are resampled to a constant rate (`fps`, or the file's own as an exact fraction),
        beginning with the first displayed frame: each is the last frame whose time, rounded to the
        new rate, isn't later. The end is rounded too, but there is always one frame. Edit lists and
        rotation are applied. Without a size, pixels are as stored. With `height` and `width` the
        picture is scaled to cover that size, keeping its aspect ratio, and cropped to its centre;
        with one of them the other follows from the aspect ratio. Colours are as tagged (see
        `media.colour`); the matrix of untagged video is BT.709's if its shorter side has 720 lines
        or more, else BT.601's.

        Sound keeps its rate unless `sample_rate` is given (torchaudio resamples), and its channels
        unless `channels` is given (see `with_channels`). It is aligned with the first frame:
        earlier sound is cut, a later beginning and gaps are silence, and it has exactly
        round(T / fps * sample_rate) samples.

        `start` (seconds) counts from the first frame and is rounded to a frame, or to a sample if
        no video is read; `seconds` is rounded to whole frames, and a shorter file gives a shorter
        clip. `streams` ("video", "audio", or both) are the streams to read, which must exist.
        Raises MediaError, naming file and cause, if the file can't be read or exceeds `limits`;
        ValueError for invalid arguments.
        """
        path, start = Path(path), Fraction(start)
        span = None if seconds is None else Fraction(seconds)
        rate = None if fps is None else frame_rate(Fraction(fps))
        wanted = _wanted(start, span, (height, width, sample_rate, channels), streams)
        if sample_rate is not None and sample_rate > MAX_RATE:
            raise ValueError(f"sample_rate must be at most {MAX_RATE} Hz, not {sample_rate}")
        if (streams is None or wanted == {"audio"}) and (
            found := sound_file(path, start, span, limits)
        ):
            return _sound_clip(path, *found, (sample_rate, channels), rate, limits)
        probed = probe(path)
        for name, stream in (("video", probed.video), ("audio", probed.audio)):
            if streams is not None and name in wanted and stream is None:
                raise MediaError(f"{path}: has no {'sound' if name == 'audio' else 'video'}")
        video = probed.video if "video" in wanted else None
        audio = probed.audio if "audio" in wanted else None
        if video is None:
            assert audio is not None
            origin = (probed.video or audio).start
            waveform = read_sound(path, audio, origin, start, span, limits)
            form = (sample_rate, channels)
            return _sound_clip(path, waveform, audio.sample_rate, form, rate, limits)
        rate = rate or frame_rate(video.fps)
        first = round(start * rate)
        count = None if span is None else max(1, round(span * rate))
        frames = read_frames(probed, video, rate, first, count, (height, width), limits)
        if audio is None:
            return cls(frames, rate, None, sample_rate or 48000)
        length, own, new = len(frames) / rate, audio.sample_rate, sample_rate or audio.sample_rate
        waveform = read_sound(path, audio, video.start, first / rate, length, limits)
        waveform = fit(waveform, round(length * own))
        waveform = at_rate(path, waveform, own, new, round(length * new), limits)
        waveform = in_channels(path, waveform, channels)
        return cls(frames, rate, waveform, new)

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
        """Write the clip in the format of the suffix; returns the path.

        `.mp4`: H.264 without B-frames, 4:2:0, BT.709 (converted and tagged), odd sizes extended by
        their last row and column; AAC at 48 kHz (torchaudio resamples), or with `lossless_sound`
        FLAC at the sound's own rate; faststart. `.mkv`: the same video, always FLAC. FLAC has 16
        bits if they represent the sound exactly, else 24. `.webm`: VP9 and Opus. `.gif`: the frames
        alone, in 256 colours, without metadata; a warning says that the sound is left out. `.wav`
        (32-bit float) and `.flac` (24 bits) contain only the sound. `quality` is x264's CRF (lower
        is better and larger). Sound is cut or padded to the frames' length.

        `copy_video_from` is a file whose video stream replaces `frames`, copied bit for bit.
        `copy_sound_from` is a file whose sound replaces `waveform`: copied if it is AAC, Opus or
        AC-3 (in mkv also MP2 and Vorbis), else decoded and stored as FLAC at its own rate. Each is
        aligned as by `read`, and cut to the clip's length (video keeps the few later frames that
        its last ones need). A copied video shorter than the clip keeps all its frames, and the
        sound continues to the clip's length. `harmony_parts.media.write.check_copy` checks in
        advance whether a container accepts a stream.

        `metadata` is stored in an mp4 or mkv: both, and players, know "title", "comment" and
        "description".

        The file is complete or absent. Raises MediaError, naming file and cause; ValueError if the
        sound isn't finite.
        """
        path = Path(path)
        self._check_target(path, copy_video_from is not None, copy_sound_from is not None)
        suffix, length = path.suffix.lower(), self._length()
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
            raise MediaError(f"{path}: can't be written: {cause_on_disk(error, path)}") from error
        except MediaError as error:  # ffmpeg's own words
            raise MediaError(cause_on_disk(error, path)) from error
        return path

    def _check_target(self, path: Path, copies_video: bool, copies_sound: bool) -> None:
        """Raise the errors of `save` that need no ffmpeg."""
        suffix = path.suffix.lower()
        if suffix not in (*MUXERS, ".wav", ".flac"):
            raise MediaError(
                f"{path}: can't write {suffix or 'a file without a suffix'}; choose .mp4, .mkv,"
                " .webm, .gif, .wav or .flac"
            )
        if not path.parent.is_dir():
            raise MediaError(f"{path}: its folder doesn't exist")
        if not copies_sound and self.waveform is not None and not self.waveform.isfinite().all():
            raise ValueError("Clip.waveform has values that aren't finite")
        if suffix == ".gif":
            if self.frames is None or copies_video or copies_sound:
                cause = "copied streams need .mp4 or .mkv" if copies_video or copies_sound else ""
                raise MediaError(f"{path}: can't be written: {cause or 'the clip has no frames'}")
            if self.waveform is not None:
                warn_caller(f"{path}: a GIF has no sound, so the clip's sound is left out")
        if suffix in MUXERS:
            return
        if self.waveform is None:
            raise MediaError(f"{path}: can't be written: the clip has no sound")
        if copies_video or copies_sound:
            raise MediaError(f"{path}: can't be written: copied streams need .mp4 or .mkv")


def _wanted(
    start: Fraction,
    seconds: Fraction | None,
    sizes: Iterable[int | None],
    streams: Collection[str] | None,
) -> set[str]:
    """The streams to read; raises the ValueErrors of `Clip.read`."""
    if (
        start < 0
        or (seconds is not None and seconds <= 0)
        or any(n is not None and n < 1 for n in sizes)
    ):
        raise ValueError(
            "start must not be negative; seconds, height, width, sample_rate and channels must be"
            " above 0"
        )
    wanted = {"video", "audio"} if streams is None else set(streams)
    if not wanted or wanted - {"video", "audio"}:
        raise ValueError(f"streams must name 'video', 'audio' or both, not {streams!r}")
    return wanted


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
            f"Clip.{field} must be a tensor or an array {want} of {dtype}, not"
            f" {type(value).__name__}"
        )
    if value.dtype != dtype or not fits(tuple(value.shape)):
        hint = (
            ": (frames * 255).round() makes 8 bits of values from 0 to 1"
            if field == "frames" and value.is_floating_point()
            else ""
        )
        raise ValueError(
            f"Clip.{field} must be {want} of {dtype}, not {list(value.shape)} of"
            f" {value.dtype}{hint}"
        )


def _sound_clip(
    path: Path,
    waveform: Tensor,
    own: int,
    form: tuple[int | None, int | None],
    fps: Fraction | None,
    limits: Limits,
) -> Clip:
    """A clip of only sound; `own`: its rate, `form`: the rate and channels to give it."""
    rate = form[0] or own
    samples = round(Fraction(waveform.shape[1], own) * rate)
    waveform = at_rate(path, waveform, own, rate, samples, limits)
    waveform = in_channels(path, waveform, form[1])
    return Clip(None, fps or Fraction(24), waveform, rate)
