"""Clips: pictures and sound of the same time span, read from and written to real files.

Shapes: T frames of H x W pixels, 3 colours (RGB); C sound channels of S samples.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from pathlib import Path

import attrs
import soundfile
import torch
from torch import Tensor

from harmony_parts import ffmpeg, sound
from harmony_parts.av import fraction
from harmony_parts.errors import MediaError
from harmony_parts.ffmpeg import Limits

LIMITS = Limits()
SEEK = Fraction(10)  # seconds decoded before `start`, so that decoders have settled there
RATE_DENOMINATOR = 1001  # of frame rates; ffmpeg reads no finer ones
# What browsers and common players show from an mp4. ffmpeg would also put MPEG-1/2 there, which few of them play.
MP4_VIDEO = {"h264", "hevc", "av1", "vp9", "mpeg4"}
# Sound that is copied as it is; all other sound is decoded and kept as FLAC. MP3 is not copied for its delay, which mp4 and mkv don't note.
COPIED_SOUND = {".mp4": {"aac", "ac3", "eac3", "opus"}, ".mkv": {"aac", "ac3", "eac3", "opus", "mp2", "vorbis"}}
MUXERS = {".mp4": "mp4", ".mkv": "matroska"}


@attrs.frozen(eq=False)
class Clip:
    """Pictures and sound of the same time span; either may be absent (`None`), which is not the same as black or mute.

    `frames` uint8 [T, H, W, 3] (RGB, T >= 1) at the constant rate `fps` (frames a second, exact): frame i lasts from i/fps to (i+1)/fps.
    `waveform` float32 [channels, samples] in -1..1 at `sample_rate` Hz; sample j is at j/sample_rate. Both begin at 0 s.
    Without frames `fps`, and without a waveform `sample_rate`, means nothing. Raises ValueError where a field has another shape or type.
    """

    frames: Tensor | None = None
    fps: Fraction = attrs.field(default=Fraction(24), converter=fraction)
    waveform: Tensor | None = None
    sample_rate: int = 48000

    def __attrs_post_init__(self) -> None:
        if self.fps <= 0:
            raise ValueError(f"Clip.fps must be above 0, not {self.fps}")
        if isinstance(self.sample_rate, bool) or not isinstance(self.sample_rate, int) or self.sample_rate <= 0:
            raise ValueError(f"Clip.sample_rate must be a whole number of Hz above 0, not {self.sample_rate!r}")
        if self.frames is None and self.waveform is None:
            raise ValueError("a Clip needs frames, a waveform, or both")
        _check("frames", self.frames, torch.uint8, "[T, H, W, 3] with T, H, W >= 1", lambda s: len(s) == 4 and s[3] == 3 and min(s) >= 1)
        _check("waveform", self.waveform, torch.float32, "[channels, samples] with channels >= 1", lambda s: len(s) == 2 and s[0] >= 1)

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
        """[samples] float32: the mean of the channels. Raises ValueError where the clip has no sound."""
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
        """A clip from any media file: its first video and its first sound stream, as far as it has them, by their timestamps.

        Frames go onto a grid of constant rate (`fps`, or the file's own as an exact fraction) that begins at the first frame shown; a
        place of the grid holds the last frame whose time, rounded to the grid, is not later. The end is rounded to the grid as well, but
        the first frame always has a place. Edit lists and rotation are honoured.
        Without a size the stored pixels are given. With `height` and `width` the picture is scaled to cover that size, keeping its shape,
        and its centre is cut out; with one of them the other follows from its shape. The colour matrix is the tagged one; untagged video
        whose shorter side has 720 lines or more is taken for BT.709, the rest for BT.601.

        Sound keeps its channels, and its rate unless `sample_rate` is given (torchaudio resamples). It is placed against the first frame:
        what comes earlier is cut, a later beginning and gaps are silence, and it has exactly round(T / fps * sample_rate) samples.

        `start` (seconds) counts from the first frame and is rounded to the grid, or to a sample where no video is read; `seconds` is
        rounded to whole frames, and a shorter file gives a shorter clip. `streams` ("video", "audio", or both) says what is read, and has
        to be there. Raises MediaError, naming file and cause, where the file can't be read or exceeds `limits`.
        """
        path, start = Path(path), Fraction(start)
        span = None if seconds is None else Fraction(seconds)
        rate = None if fps is None else _rate(Fraction(fps))
        if start < 0 or (span is not None and span <= 0) or any(n is not None and n < 1 for n in (height, width, sample_rate)):
            raise ValueError("start must not be negative; seconds, height, width and sample_rate must be above 0")
        wanted = {"video", "audio"} if streams is None else set(streams)
        if not wanted or wanted - {"video", "audio"}:
            raise ValueError(f"streams must name 'video', 'audio' or both, not {streams!r}")
        if path.suffix.lower() in sound.READS and path.is_file() and (streams is None or wanted == {"audio"}):
            try:
                return _sound_clip(*sound.read(path, start, span, limits), sample_rate, rate)
            except soundfile.LibsndfileError:
                pass  # something else under that suffix, which ffmpeg may know
        probe = ffmpeg.probe(path)
        for name, stream in (("video", probe.video), ("audio", probe.audio)):
            if streams is not None and name in wanted and stream is None:
                raise MediaError(f"{path}: has no {'sound' if name == 'audio' else 'video'}")
        video, audio = probe.video if "video" in wanted else None, probe.audio if "audio" in wanted else None
        if video is None:
            assert audio is not None
            origin = probe.video.start if probe.video else audio.start
            return _sound_clip(_read_sound(path, audio, origin, start, span, limits), audio.sample_rate, sample_rate, rate)
        rate = rate or _rate(video.fps)
        first = round(start * rate)
        count = None if span is None else max(1, round(span * rate))
        frames = _read_frames(probe, video, rate, first, count, (height, width), limits)
        if audio is None:
            return cls(frames, rate, None, sample_rate or 48000)
        length, own, asked = len(frames) / rate, audio.sample_rate, sample_rate or audio.sample_rate
        waveform = _read_sound(path, audio, video.start, first / rate, length, limits)
        waveform = sound.resample(sound.fit(waveform, round(length * own)), own, asked)
        return cls(frames, rate, sound.fit(waveform, round(length * asked)), asked)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        copy_video_from: str | os.PathLike[str] | None = None,
        copy_sound_from: str | os.PathLike[str] | None = None,
        lossless_sound: bool = False,
        quality: float = 17,
        limits: Limits = LIMITS,
    ) -> Path:
        """Write the clip as the suffix says; returns the path.

        `.mp4`: H.264 without B-frames, 4:2:0, BT.709 (converted and tagged), odd sizes continued by their last row and column; AAC at 48
        kHz (torchaudio resamples), or with `lossless_sound` FLAC at the sound's own rate; faststart. `.mkv`: the same video, always FLAC.
        FLAC has 16 bits where they hold the sound, else 24. `.wav` (32-bit float), `.flac` (24 bits): the sound alone. `quality` is
        x264's CRF (lower is better and larger). Sound is cut or padded to the frames' length.

        `copy_video_from` names a file whose video stream is copied, bit for bit, in place of `frames`; `copy_sound_from` one whose sound
        is used in place of `waveform`: copied where it is AAC, Opus or AC-3 (in mkv also MP2 and Vorbis), else decoded and kept as FLAC
        at its own rate. Each is placed as `read` places it, and cut to the clip's length (video keeps the few later frames that its last
        ones need). A copied video that ends before the clip ends there, with all its frames; the sound goes on to the clip's length.
        `check_copy` says beforehand whether a container takes a given stream.

        The file appears whole or not at all. Raises MediaError, naming file and cause; ValueError where the sound isn't finite.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in (*MUXERS, ".wav", ".flac"):
            raise MediaError(f"{path}: can't write {suffix or 'a file without a suffix'}; choose .mp4, .mkv, .wav or .flac")
        if not path.parent.is_dir():
            raise MediaError(f"{path}: its folder doesn't exist")
        if self.waveform is not None and copy_sound_from is None and not self.waveform.isfinite().all():
            raise ValueError("Clip.waveform holds values that aren't finite")
        if suffix not in MUXERS and (self.waveform is None or copy_video_from is not None or copy_sound_from is not None):
            cause = "the clip has no sound" if self.waveform is None else "copied streams need .mp4 or .mkv"
            raise MediaError(f"{path}: can't be written: {cause}")
        try:
            # A folder beside the target: on the same disk, so that the last step is a rename, and gone afterwards whatever happens.
            with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
                part = Path(folder, f"whole{suffix}")
                if suffix in MUXERS:
                    self._mux(path, part, copy_video_from, copy_sound_from, lossless_sound or suffix == ".mkv", quality, limits)
                else:
                    assert self.waveform is not None
                    samples = round(self._length() * self.sample_rate)
                    sound.write(part, sound.fit(self.waveform.detach().cpu(), samples), self.sample_rate)
                os.replace(part, path)
        except (OSError, soundfile.LibsndfileError) as error:
            raise MediaError(f"{path}: can't be written: {error}") from error
        return path

    def _mux(
        self,
        path: Path,
        part: Path,
        copy_video_from: str | os.PathLike[str] | None,
        copy_sound_from: str | os.PathLike[str] | None,
        lossless: bool,
        quality: float,
        limits: Limits,
    ) -> None:
        length, suffix = self._length(), part.suffix
        inputs: list[str] = []
        video: list[str] = []
        audio: list[str] = []
        feed: Iterator[memoryview] = iter(())
        if copy_video_from is not None:
            given = _video_to_copy(path, Path(copy_video_from))
            assert given.video is not None
            # MPEG program streams don't stamp every packet; mkv asks for it.
            inputs += ["-fflags", "+genpts", *ffmpeg.source(given.path, offset=-given.video.start)]
            # Packets in decoding order, up to the end: those that frames before the end refer to are among them.
            end = float(length - 1 / given.video.fps / 2)
            video = ["-map", "0:V:0", "-c:v", "copy", "-bsf:v", f"noise=drop=gte(dts*tb\\,{end:.9f})"]
        elif self.frames is not None:
            height, width = (n + n % 2 for n in self.frames.shape[1:3])
            inputs += ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
            inputs += ["-framerate", str(_rate(self.fps)), "-i", "pipe:0"]
            feed = _even_frames(self.frames)
            video = ["-map", "0:v:0", "-c:v", "libx264", "-crf", str(quality), "-bf", "0", "-vf"]
            video += [
                "scale=out_color_matrix=bt709:out_range=limited:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format=yuv420p,"
                "setparams=range=limited:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
            ]
        index = 1 if video else 0
        waveform, rate = self.waveform, self.sample_rate
        if copy_sound_from is not None:
            given = _sound_to_copy(Path(copy_sound_from))
            assert given.audio is not None
            if given.audio.codec in COPIED_SOUND[suffix]:
                inputs += ffmpeg.source(given.path, offset=-(given.video or given.audio).start)
                audio, waveform = ["-map", f"{index}:a:0", "-c:a", "copy"], None
            else:
                clip = Clip.read(given.path, seconds=length, streams=("audio",), limits=limits)
                waveform, rate, lossless = clip.waveform, clip.sample_rate, True
        if waveform is not None:
            waveform = waveform.detach().cpu()
            if not lossless:
                waveform, rate = sound.resample(waveform, rate, 48000), 48000
            waveform = sound.fit(waveform, round(length * rate)).T.contiguous()  # [samples, channels]
            raw = part.with_name("sound.raw")
            waveform.numpy().tofile(raw)
            channels = waveform.shape[1]
            inputs += ["-f", "f32le", "-ar", str(rate), "-ac", str(channels), "-i", str(raw)]
            audio = ["-map", f"{index}:a:0"]
            if lossless:
                scaled = waveform * 2**15
                short = bool((scaled == scaled.round()).all() and (scaled >= -(2**15)).all() and (scaled < 2**15).all())
                audio += ["-c:a", "flac", "-sample_fmt", "s16" if short else "s32"]
            else:
                audio += ["-c:a", "aac", "-b:a", f"{128 * channels}k"]
        # The end in microseconds, rounded up: sound is cut to the length above, to the sample; this stops what is copied.
        end_us = math.ceil(length * 10**6)
        tail = ["-t", f"{end_us}us", "-map_metadata", "-1", "-map_chapters", "-1", "-strict", "-2"]
        tail += ["-movflags", "+faststart"] if suffix == ".mp4" else []
        ffmpeg.run([*inputs, *video, *audio, *tail, "-f", MUXERS[suffix], str(part)], path, limits, feed=feed)


def check_copy(
    path: str | os.PathLike[str],
    *,
    copy_video_from: str | os.PathLike[str] | None = None,
    copy_sound_from: str | os.PathLike[str] | None = None,
) -> None:
    """Raise the MediaError that `Clip.save` to `path` would raise for what is to be copied, before there is a clip."""
    if copy_video_from is not None:
        _video_to_copy(Path(path), Path(copy_video_from))
    if copy_sound_from is not None:
        _sound_to_copy(Path(copy_sound_from))


def _video_to_copy(path: Path, given: Path) -> ffmpeg.Probe:
    """What `given` holds: a video that the container of `path` takes as it is. Raises MediaError."""
    held = _required(ffmpeg.probe(given), "video")
    assert held.video is not None
    causes: dict[str, str] = {}  # container -> why it doesn't take it
    if held.video.codec not in MP4_VIDEO:
        causes[".mp4"] = f"players expect {', '.join(sorted(MP4_VIDEO))} in mp4"
    if causes or path.suffix.lower() == ".mkv":
        if ffmpeg.hidden_lead(given, held.video):
            causes[".mkv"] = "an edit list hides its first frames, and mkv has none"
        elif not ffmpeg.takes(MUXERS[".mkv"], given):
            causes[".mkv"] = "mkv doesn't hold this codec"
    if cause := causes.get(path.suffix.lower()):
        other = next((path.with_suffix(suffix).name for suffix in MUXERS if suffix not in causes), None)
        remedy = f"write {other} (`--out {other}`), which takes it as it is" if other else "encode it anew first, as H.264"
        raise MediaError(f"{given}: its {held.video.codec} video can't be copied into {path.name}: {cause}; {remedy}")
    return held


def _sound_to_copy(given: Path) -> ffmpeg.Probe:
    return _required(ffmpeg.probe(given), "audio")


def _check(field: str, value: object, dtype: torch.dtype, want: str, fits: Callable[[tuple[int, ...]], bool]) -> None:
    if value is None:
        return
    if not isinstance(value, Tensor):
        raise ValueError(f"Clip.{field} must be a torch tensor {want} of {dtype}, not {type(value).__name__}")
    if value.dtype != dtype or not fits(tuple(value.shape)):
        raise ValueError(f"Clip.{field} must be {want} of {dtype}, not {list(value.shape)} of {value.dtype}")


def _rate(fps: Fraction) -> Fraction:
    """A frame rate that ffmpeg can read."""
    rate = fps.limit_denominator(RATE_DENOMINATOR)
    if not Fraction(1, RATE_DENOMINATOR) <= rate <= 1000:
        raise ValueError(f"fps must lie between 1/{RATE_DENOMINATOR} and 1000, not {float(fps):g}")
    return rate


def _required(probe: ffmpeg.Probe, stream: str) -> ffmpeg.Probe:
    if getattr(probe, stream) is None:
        raise MediaError(f"{probe.path}: has no {'sound' if stream == 'audio' else 'video'} to copy")
    return probe


def _sound_clip(waveform: Tensor, own: int, asked: int | None, fps: Fraction | None) -> Clip:
    rate = asked or own
    samples = round(Fraction(waveform.shape[1], own) * rate)
    return Clip(None, fps or Fraction(24), sound.fit(sound.resample(waveform, own, rate), samples), rate)


def _seek(start: Fraction) -> Fraction | None:
    return start - SEEK if start > SEEK else None


def _read_frames(
    probe: ffmpeg.Probe,
    video: ffmpeg.VideoStream,
    fps: Fraction,
    first: int,
    count: int | None,
    size: tuple[int | None, int | None],
    limits: Limits,
) -> Tensor:
    """uint8 [T, H, W, 3]: the frames `first` .. `first + count` of the grid that begins with the video."""
    scaled, (height, width) = _cover(video, *size)
    frame_bytes = 3 * height * width
    claimed = None if probe.seconds is None else max(1, int(probe.seconds * fps) - first)  # the limit holds while reading, too
    expected = min(count or claimed or 1, claimed or count or 1)
    if expected * frame_bytes > limits.bytes:
        raise MediaError(
            f"{probe.path}: {expected} frames of {width}x{height} take {expected * frame_bytes / 2**30:.1f} GiB, above the limit of "
            f"{limits.bytes / 2**30:.1f} GiB; read fewer seconds or a smaller size, or raise Limits.bytes"
        )
    # "auto" is the tagged matrix. Only YCbCr has one: RGB and grey sources are left alone.
    untagged = video.matrix == "unknown" and video.pixels.startswith(("yuv", "nv", "p0", "p2", "p4", "yuyv", "uyvy"))
    matrix = "auto" if not untagged else "bt709" if min(video.width, video.height) >= 720 else "bt601"
    end = "" if count is None else f":end_frame={first + count}"
    grid = [f"setpts=PTS-({video.first})", f"fps={fps}:start_time=0", f"trim=start_frame={first}{end}"]
    form = [
        f"scale={scaled[1]}:{scaled[0]}:in_color_matrix={matrix}:out_range=full:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp",
        "format=rgb24",
        f"crop={width}:{height}:{(scaled[1] - width) // 2}:{(scaled[0] - height) // 2}:exact=1",
    ]
    # One filter graph for the whole stream, also where its frames change size: a new one would count from 0 again.
    args = ["-reinit_filter:v", "0", *ffmpeg.source(probe.path, seek=_seek(first / fps)), "-map", "0:V:0", "-fps_mode", "passthrough"]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    out, _ = ffmpeg.run([*args, "-vf", ",".join([*grid, *form]), *raw], probe.path, limits)
    if len(out) < frame_bytes and first == 0:
        # It ends before the middle of the grid's first place, and the end is rounded to the grid, too; that place has its first frame.
        out, _ = ffmpeg.run([*args, "-vf", ",".join(form), "-frames:v", "1", *raw], probe.path, limits)
    if len(out) < frame_bytes:
        raise MediaError(f"{probe.path}: has no frame at {float(first / fps):g} s or later")
    whole = len(out) // frame_bytes
    return torch.frombuffer(out, dtype=torch.uint8, count=whole * frame_bytes).view(whole, height, width, 3)


def _cover(video: ffmpeg.VideoStream, height: int | None, width: int | None) -> tuple[tuple[int, int], tuple[int, int]]:
    """((height, width) to scale to, (height, width) to cut from its centre)."""
    if height is None and width is None:
        return ((video.height, video.width),) * 2
    across = video.width * video.pixel_aspect  # in square pixels
    height = height or max(1, round(video.height * (width or 1) / across))
    width = width or max(1, round(across * height / video.height))
    factor = max(Fraction(height, video.height), width / across)
    return (max(height, round(video.height * factor)), max(width, round(across * factor))), (height, width)


def _read_sound(
    path: Path, audio: ffmpeg.AudioStream, origin: Fraction, start: Fraction, seconds: Fraction | None, limits: Limits
) -> Tensor:
    """float32 [channels, samples] from `origin + start` in the file's clock on, at the file's own rate; `seconds` of it, or less."""
    first = round((origin + start) * audio.sample_rate)
    # Filled and trimmed, never stretched: at the beginning to the sample, later where timestamps and samples differ by more than 20 ms.
    filters = f"aresample=async=1:min_comp=0.00001:min_hard_comp=0.02:first_pts={first}"
    if seconds is not None:
        filters += f",atrim=end_sample={max(1, round(seconds * audio.sample_rate))}"
    args = [*ffmpeg.source(path, seek=_seek(start)), "-map", "0:a:0", "-af", filters]
    out, _ = ffmpeg.run([*args, "-ar", str(audio.sample_rate), "-ac", str(audio.channels), "-f", "f32le", "-"], path, limits)
    count = len(out) // (4 * audio.channels)
    if not count:
        return torch.zeros(audio.channels, 0)
    return torch.frombuffer(out, dtype=torch.float32, count=count * audio.channels).view(count, audio.channels).T.contiguous()


def _even_frames(frames: Tensor) -> Iterator[memoryview]:
    """Frames as bytes, a few at a time, odd sizes continued by their last row and column."""
    for block in frames.split(max(1, (1 << 24) // frames[0].numel())):
        if block.shape[1] % 2:
            block = torch.cat([block, block[:, -1:]], dim=1)
        if block.shape[2] % 2:
            block = torch.cat([block, block[:, :, -1:]], dim=2)
        yield memoryview(block.cpu().contiguous().numpy()).cast("B")
