"""A request for one clip, and all the rules that it must keep.

The rules are sorted by what they need to know: `Request.faults` only the request,
`Request.check_file` the file to write, `Request.check_model` the model's streams and format, and
`Request.inputs` the given media. Python, the command line and batch files all go through them.
Importing this module imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from harmony_parts.av import STREAMS, Format, Prompt
from harmony_parts.errors import RequestError, warn_caller
from harmony_parts.generate.fields import FILES, TEXTS, field_fault, refuse
from harmony_parts.generate.generated import SOUND_ONLY
from harmony_parts.generate.in_format import (
    clip_in,
    clip_of,
    frames_in,
    frames_of,
    picture_in,
    read_media,
    sound_in,
)
from harmony_parts.media.ffmpeg import is_file
from harmony_parts.media.probe import probe

if TYPE_CHECKING:
    from harmony_parts.flow.protocol import Shift, Solver
    from harmony_parts.flow.stream_shifts import StreamShifts
    from harmony_parts.generate.fields import Image, Media
    from harmony_parts.guidance.protocol import Guidance
    from harmony_parts.media.clip import Clip

PICTURES = {"png", "mjpeg", "webp", "bmp", "tiff", "jpeg2000", "jpegxl"}
"""Codecs of pictures, by ffmpeg's names."""
LONGER = 1.5  # times the training length: beyond it, quality is known to drift
# times the training length: beyond it, a request is a mistake, for memory grows with its square
LONGEST = 100
OVERLAP = 0.25  # of the model's length, which a window repeats of what is there
REMAKE = 0.2  # seconds at the end of a window that the next one makes again
STRENGTH = 0.6  # the time at which a draft is gone on from: this much of it is noise


@attrs.frozen(eq=False, kw_only=True)
class Request:
    """One clip to generate. None stands for the model's default.

    `prompt`, `sound` and `speech` describe what is seen, heard and spoken; `negative` and
    `negative_sound` are the negative prompts, for guidances that drop text. `image` is the first
    frame, `voice` a sound whose voice or timbre to follow. `audio` or `video` is the given stream,
    which the other one is generated for. `begin` is a clip to go on from, for `seconds`, in windows
    that repeat `overlap` seconds of what is there and make the last `remake` seconds of the window
    before them again. With an `overlap` and no `begin`, all of a clip longer than the model's is
    made like that. `draft` is a clip to change: its streams that aren't given start from it with
    noise at time `strength`. `extra` holds fields that encoders of plugins read.
    """

    prompt: str | None = None
    sound: str | None = None
    speech: str | None = None
    negative: str | None = None
    negative_sound: str | None = None
    image: Image | None = None
    voice: Media | None = None
    audio: Media | None = None
    video: Media | None = None
    begin: Media | None = None
    seconds: float | None = None
    overlap: float | None = None
    remake: float | None = None
    draft: Media | None = None
    strength: float | None = None
    extra: Mapping[str, Any] | None = None
    seed: int = 0
    steps: int | None = None
    guidance: Guidance | None = None
    solver: Solver | None = None
    shift: Shift | StreamShifts | None = None

    def fields(self) -> dict[str, Any]:
        """The fields by name, as `Pipeline.generate` takes them."""
        return {field.name: getattr(self, field.name) for field in attrs.fields(Request)}

    def title(self, separator: str = ", ") -> str:
        """The texts of the request on one line."""
        return separator.join(text for name in TEXTS if (text := getattr(self, name)))

    def path(self, name: str) -> Path | None:
        """The file of the media field `name`, if it is given as one."""
        media = getattr(self, name)
        return Path(media) if isinstance(media, str | os.PathLike) else None

    def faults(self) -> list[str]:
        """What is wrong with the request for any model, a sentence each."""
        faults = [fault for name, x in self.fields().items() if (fault := field_fault(name, x))]
        if self.audio is not None and self.video is not None:
            faults.append(
                "audio and video are both given, which leaves nothing to generate; leave one out"
            )
        if self.remake is not None and not self.windowed:
            faults.append(
                "remake is set without begin or overlap, and so there is one window alone"
            )
        if self.strength is not None and self.draft is None:
            faults.append("strength is set without draft, the clip that would be changed")
        return faults

    @property
    def windowed(self) -> bool:
        """Whether the clip is made in windows of the model's length, if it's longer than one."""
        return self.begin is not None or self.overlap is not None

    def check(self) -> None:
        """Raise RequestError if the request is wrong for any model."""
        refuse(self.faults())

    def check_file(
        self, out: Path, *, preview: bool = False, streams: Collection[str] = STREAMS
    ) -> None:
        """Check that the clip can be saved as `out`; `streams` are those that the model generates.

        Raises RequestError, or MediaError if the container can't hold a given stream.
        """
        sound_only = out.suffix.lower() in SOUND_ONLY
        use = f"use a name that ends in .mp4 or .mkv, not {out.suffix}"
        if out.suffix.lower() == ".gif" and (self.audio is not None or self.video is not None):
            raise RequestError(f"a GIF has no sound, and can't keep a given stream: {use}")
        if sound_only and self.audio is not None:
            raise RequestError(f"audio is given, so the clip is a video: {use}")
        if sound_only and "audio" not in streams:
            raise RequestError(f"this model generates only video: {use}")
        if sound_only and preview:
            raise RequestError(f"a preview shows frames, so the clip must have them: {use}")
        for name in FILES:
            path = self.path(name)
            if path is not None and is_file(path) and out.exists() and out.samefile(path):
                raise RequestError(
                    f"{out} is the given {name}, {path}, and would be overwritten; write another"
                    " file"
                )
        self._check_still()
        if not sound_only:
            from harmony_parts.media.write import check_copy

            check_copy(out, copy_video_from=self.path("video"), copy_sound_from=self.path("audio"))

    def check_model(self, streams: Collection[str], format: Format) -> None:
        """Check the request against the streams that a model generates, and its format.

        A given file's length is that of its header: a file that is far too long is never read.
        Raises RequestError, or MediaError if a given file can't be read.
        """
        for name in ("audio", "video"):
            if getattr(self, name) is not None and len(streams) < 2:
                raise RequestError(
                    f"{name} is given, and this model generates only {', '.join(streams)}, from"
                    " prompts"
                )
        self._check_still()
        self._check_begin(streams)
        self._check_windows(format)
        self._check_draft(streams)
        limit = LONGEST * format.seconds
        for seconds, length, remedy in self._lengths():
            if seconds > limit:
                raise RequestError(
                    f"{length}, and this model was trained on {format.seconds:g} s: the limit is"
                    f" {LONGEST} times that ({limit:g} s); {remedy}"
                )

    def _check_still(self) -> None:
        """Raise RequestError if a single picture is given as the video."""
        path = self.path("video")
        if path is None:
            return
        found = probe(path)
        still = found.video is not None and found.video.codec in PICTURES
        if still and not found.audio and (not found.seconds or found.seconds * 25 <= 1):
            raise RequestError(
                f"{path} is a single picture: give it as `image` (--image), the first frame;"
                " `video` is what a sound is generated for"
            )

    def _check_begin(self, streams: Collection[str]) -> None:
        """Raise RequestError if `begin` lacks a stream that is generated."""
        if self.begin is None:
            return
        has = self._streams_of("begin")
        for stream in self._generated(streams):
            if stream in has:
                continue
            what, other = ("sound", "video") if stream == "audio" else ("frames", "audio")
            first = f"; generate it first, with `{other}`" if len(streams) > 1 else ""
            raise RequestError(f"begin has no {what} to go on from{first}")

    def _check_windows(self, format: Format) -> None:
        """Raise RequestError if windows would add nothing."""
        if self.overlap is not None and self.overlap_frames(format) >= format.frames:
            raise RequestError(
                f"the overlap of {float(self.overlap):g} s leaves nothing of a window of"
                f" {format.seconds:g} s; set a smaller one"
            )
        repeated, remade = self.overlap_frames(format), self.remake_frames(format)
        chosen = self.overlap is not None or self.remake is not None
        if chosen and repeated + remade >= format.frames:
            seconds = REMAKE if self.remake is None else float(self.remake)
            raise RequestError(
                f"with an overlap of {float(repeated / format.fps):.3g} s, making {seconds:g} s"
                f" again leaves nothing of a window of {format.seconds:g} s; set a smaller"
                " `overlap` or `remake`"
            )

    def _check_draft(self, streams: Collection[str]) -> None:
        """Raise RequestError if the draft has no stream that is generated."""
        if self.draft is None:
            return
        generated = self._generated(streams)
        if not set(generated) & self._streams_of("draft"):
            raise RequestError(f"the draft has no {' or '.join(generated)}, which is generated")

    def _generated(self, streams: Collection[str]) -> list[str]:
        """Those of a model's streams that aren't given."""
        return [s for s in STREAMS if s in streams and getattr(self, s) is None]

    def _streams_of(self, name: str) -> set[str]:
        """The streams of the media field `name`; those of a file are read from its header."""
        path = self.path(name)
        info: Any = probe(path) if path else clip_of(getattr(self, name))
        has = (info.video, info.audio) if path else (info.frames, info.waveform)
        return {stream for stream, part in zip(STREAMS, has, strict=True) if part is not None}

    def overlap_frames(self, format: Format) -> int:
        """The frames of what is there that a window repeats, before rounding to latents."""
        seconds = format.seconds * OVERLAP if self.overlap is None else self.overlap
        return max(1, round(seconds * format.fps))

    def remake_frames(self, format: Format) -> int:
        """The frames at the end of a window that are made again, before rounding to latents."""
        seconds = REMAKE if self.remake is None else self.remake
        return max(1, round(seconds * format.fps)) if seconds else 0

    def inputs(self, format: Format) -> Inputs:
        """Read the given media and bring them to a model's format.

        Raises MediaError for a file that can't be read, RequestError for media that don't do.
        """
        from harmony_parts.media.clip import Clip
        from harmony_parts.media.waveform import fit

        size = {"height": format.height, "width": format.width}
        audio = read_media("audio", self.audio, "sound")
        video = read_media("video", self.video, "frames", **size)
        begin = read_media("begin", self.begin, "", **size)
        draft = read_media("draft", self.draft, "", **size)
        if draft is not None:
            draft = attrs.evolve(
                draft,
                frames=None if video is not None else draft.frames,
                waveform=None if audio is not None else draft.waveform,
            )
        begun = 0 if begin is None else frames_of(begin, format)
        if begin is not None:
            begin = clip_in("begin", begin, format, begun)
        frames = self._frames(format, audio, video, draft, begun)
        if draft is not None:
            draft = clip_in("draft", draft, format, frames)
        given = None
        if audio is not None:
            sound = fit(sound_in("audio", audio, format), format.samples(frames))
            given = Clip(waveform=sound, sample_rate=format.sample_rate)
        if video is not None:
            given = Clip(frames=frames_in(video, format, frames), fps=format.fps)
        voice = read_media("voice", self.voice, "sound")
        unwanted = self.negative, self.negative_sound
        prompt = Prompt(
            self.prompt,
            self.sound,
            self.speech,
            picture_in("image", self.image, format),
            None if voice is None else sound_in("voice", voice, format),
            self.extra or {},
            None if unwanted == (None, None) else Prompt(*unwanted),
        )
        repeated, remade = self.overlap_frames(format), self.remake_frames(format)
        return Inputs(prompt, frames, given, audio, begin, begun, repeated, remade, draft)

    def _lengths(self) -> Iterator[tuple[float, str, str]]:
        """(seconds of a clip, the words for it, what to do if they are too many)."""
        if self.seconds is not None:
            seconds = float(self.seconds)
            yield seconds, f"{seconds:g} s are requested", "set a smaller `seconds`"
        for name in ("audio", "video", "begin", "draft") if self.seconds is None else ("begin",):
            if (media := getattr(self, name)) is None:
                continue
            path = self.path(name)
            seconds = float(probe(path).seconds or 0) if path else clip_of(media).seconds
            named = f"the given {name}, {path}," if path else f"the given {name}"
            remedy = "give its end" if name == "begin" else "set a smaller `seconds`"
            yield seconds, f"{named} lasts {seconds:g} s", remedy

    def _frames(
        self,
        format: Format,
        audio: Clip | None,
        video: Clip | None,
        draft: Clip | None,
        begun: int,
    ) -> int:
        """How many frames the clip has, at the format's rate; `begun` of them are `begin`."""
        there = {
            f"the {'draft' if name == 'draft' else f'given {name}'}": (
                max(1, round(clip.seconds * format.fps))
                if name == "audio"
                else frames_of(clip, format)
            )
            for name, clip in (("video", video), ("draft", draft), ("audio", audio))
            if clip is not None
        }
        if self.seconds is not None:
            frames = begun + max(1, round(self.seconds * format.fps))
        elif there:
            frames = min(there.values())
        elif begun:
            frames = begun + format.frames - self.overlap_frames(format)
        else:
            frames = max(1, round(format.seconds * format.fps))
        if frames <= begun:
            raise RequestError(
                f"begin lasts {float(begun / format.fps):.2f} s, and"
                f" {min(there, key=there.__getitem__)} {float(frames / format.fps):.2f} s from"
                " the start of begin: nothing is left to generate"
            )
        for name, available in there.items():
            if name != "the given audio" and frames > available:
                raise RequestError(
                    f"{float(self.seconds or 0):g} s{' after begin' if begun else ''} are"
                    f" requested, and {name} lasts {float(available / format.fps):.2f} s; leave"
                    " `seconds` out to use all of it"
                )
        if not self.windowed and frames > LONGER * format.frames:
            warn_caller(
                f"{float(frames / format.fps):.1f} s is much longer than the {format.seconds:g} s"
                " that this model was trained on, so expect it to drift; `seconds` sets the length,"
                " and `overlap` makes it in windows, each of which repeats so many seconds"
            )
        return frames


@attrs.frozen(eq=False)
class Inputs:
    """What a request gives a pipeline, in the model's format.

    `frames` is the clip's length. `given`: the given stream, to be encoded; `audio`: a given sound
    with its own rate and channels. `begin`: the clip to go on from, of `begun` frames. Windows, if
    there are several, repeat `overlap` frames and make the last `remake` of the one before again.
    `draft`: the clip to change, of the same length.
    """

    prompt: Prompt
    frames: int
    given: Clip | None
    audio: Clip | None
    begin: Clip | None
    begun: int
    overlap: int
    remake: int
    draft: Clip | None

    def restore(self, clip: Clip, format: Format) -> Clip:
        """The decoded clip with the given stream in place of its reconstruction."""
        from harmony_parts.media.waveform import fit

        if self.audio is not None:
            assert self.audio.waveform is not None
            samples = round(self.frames / format.fps * self.audio.sample_rate)
            return attrs.evolve(
                clip,
                waveform=fit(self.audio.waveform, samples),
                sample_rate=self.audio.sample_rate,
            )
        if self.given is not None:
            return attrs.evolve(clip, frames=self.given.frames)
        return clip
