"""A request for one clip, and all the rules that it must keep.

The rules are sorted by what they need to know: `Request.faults` only the request,
`Request.check_file` the file to write, `Request.check_model` the model's streams and format, and
`Request.inputs` the given media. Python, the command line and batch files all go through them.
Importing this module imports no torch.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from harmony_parts.av import STREAMS, Format, Prompt
from harmony_parts.errors import RequestError
from harmony_parts.generate.generated import SOUND_ONLY, Generated
from harmony_parts.media.ffmpeg import is_file
from harmony_parts.media.probe import file_fault, probe

if TYPE_CHECKING:
    from torch import Tensor

    from harmony_parts.flow.protocol import Shift, Solver
    from harmony_parts.flow.stream_shifts import StreamShifts
    from harmony_parts.guidance.protocol import Guidance
    from harmony_parts.media.clip import Clip

    Media = Clip | Generated | str | os.PathLike[str]

TEXTS = ("prompt", "sound", "speech")
FILES = ("image", "voice", "audio", "video")
MAX_SEED = 2**63 - 1  # torch.Generator takes 64 bits, signed
LONGER = 1.5  # times the training length: beyond it, quality is known to drift
# times the training length: beyond it, a request is a mistake, for memory grows with its square
LONGEST = 100


# --- the value of one field -----------------------------------------------------------------------


def field_fault(name: str, value: Any) -> str:
    """Why the field `name` of a request can't have this value; empty if it can."""
    if value is None and name != "seed":
        return ""
    is_valid, expected = _RULES[name]
    if not is_valid(value):
        return f"{name} must be {expected}, not {value!r:.80}"
    if (
        name in FILES
        and isinstance(value, str | os.PathLike)
        and (fault := file_fault(Path(value)))
    ):
        return f"{name}: {os.fspath(value)}: {fault}"
    return ""


def check_fields(**fields: Any) -> None:
    """Raise RequestError, with a sentence for each fault, if a field can't have its value."""
    _refuse([fault for name, value in fields.items() if (fault := field_fault(name, value))])


def from_text(name: str, text: str) -> Any:
    """A field's value from the text of an option or a table's cell.

    Text that can't be converted is returned unchanged, so that `field_fault` refuses it.
    """
    kinds: dict[str, tuple[Callable[[str], Any], ...]] = {
        "seconds": (int, float),
        "steps": (int, float),
        "seed": (int, float),
        "extra": (json.loads,),
    }
    for kind in kinds.get(name, ()):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _refuse(faults: Collection[str]) -> None:
    if faults:
        raise RequestError("; ".join(faults))


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_length(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return 0 < float(value) < math.inf
    except OverflowError:
        return False


def _is_media(value: Any) -> bool:
    if isinstance(value, str | os.PathLike | Generated):
        return True
    from harmony_parts.media.clip import Clip

    return isinstance(value, Clip)


def _is_image(value: Any) -> bool:
    if _is_media(value):
        return True
    from torch import Tensor

    return isinstance(value, Tensor)


def _is_part(method: str) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, type) and hasattr(value, method)


def _is_shift(value: Any) -> bool:
    if _is_part("__call__")(value):
        return True
    from harmony_parts.flow.stream_shifts import StreamShifts

    return isinstance(value, StreamShifts)


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(TEXTS, (lambda value: isinstance(value, str), "a single string")),
    **dict.fromkeys(FILES, (_is_media, "a file or a Clip")),
    "image": (_is_image, "a file, a Clip or a tensor"),
    "seconds": (_is_length, "a finite number above 0"),
    "extra": (lambda value: isinstance(value, Mapping), "a mapping (in JSON, an object)"),
    "seed": (
        lambda value: _is_whole(value) and 0 <= value <= MAX_SEED,
        "a whole number from 0 to 2**63 - 1",
    ),
    "steps": (lambda value: _is_whole(value) and value >= 1, "a whole number of at least 1"),
    "guidance": (_is_part("combine"), "a part, such as SyncCFG(video=3, audio=2)"),
    "solver": (_is_part("step"), "a part, such as Heun()"),
    "shift": (_is_shift, "a part, such as ConstantShift(5), or StreamShifts(video, audio)"),
}


# --- the request ----------------------------------------------------------------------------------


@attrs.frozen(eq=False, kw_only=True)
class Request:
    """One clip to generate. None stands for the model's default.

    `prompt`, `sound` and `speech` describe what is seen, heard and spoken. `image` is the first
    frame, `voice` a sound whose voice or timbre to follow. `audio` or `video` is the given stream,
    which the other one is generated for. `extra` holds fields that encoders of plugins read.
    """

    prompt: str | None = None
    sound: str | None = None
    speech: str | None = None
    image: Media | Tensor | None = None
    voice: Media | None = None
    audio: Media | None = None
    video: Media | None = None
    seconds: float | None = None
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
        return faults

    def check(self) -> None:
        """Raise RequestError if the request is wrong for any model."""
        _refuse(self.faults())

    def check_file(
        self, out: Path, *, preview: bool = False, streams: Collection[str] = STREAMS
    ) -> None:
        """Check that the clip can be saved as `out`; `streams` are those that the model generates.

        Raises RequestError, or MediaError if the container can't hold a given stream.
        """
        sound_only = out.suffix.lower() in SOUND_ONLY
        use = f"use a name that ends in .mp4 or .mkv, not {out.suffix}"
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
        limit = LONGEST * format.seconds
        seconds, length = self._length()
        if seconds > limit:
            raise RequestError(
                f"{length}, and this model was trained on {format.seconds:g} s: the limit is"
                f" {LONGEST} times that ({limit:g} s); set a smaller `seconds`"
            )

    def inputs(self, format: Format) -> Inputs:
        """Read the given media and bring them to a model's format.

        Raises MediaError for a file that can't be read, RequestError for media that don't do.
        """
        from harmony_parts.media.clip import Clip
        from harmony_parts.media.waveform import fit

        size = {"height": format.height, "width": format.width}
        audio = _read("audio", self.audio, "sound")
        video = _read("video", self.video, "frames", **size)
        frames = self._frames(format, audio, video)
        given = None
        if audio is not None:
            sound = _sound("audio", audio, format)
            if not sound.isfinite().all():
                raise RequestError("the given audio has samples that aren't finite numbers")
            sound = fit(sound, format.samples(frames))
            given = Clip(waveform=sound, sample_rate=format.sample_rate)
        if video is not None:
            given = Clip(frames=_at_fps(video, format, frames), fps=format.fps)
        image, voice = self.image, _read("voice", self.voice, "sound")
        if _is_media(image):
            first = _read("image", image, "frames", **size)
            assert first is not None
            image = _covered(first, format, 1)[0]
        prompt = Prompt(
            self.prompt,
            self.sound,
            self.speech,
            image,  # type: ignore[arg-type]
            None if voice is None else _sound("voice", voice, format),
            self.extra or {},
        )
        return Inputs(prompt, frames, given, audio)

    def _length(self) -> tuple[float, str]:
        """(seconds of the clip, the words for it); 0 for the model's own length."""
        if self.seconds is not None:
            return float(self.seconds), f"{float(self.seconds):g} s are requested"
        for name in ("audio", "video"):
            if (media := getattr(self, name)) is None:
                continue
            if path := self.path(name):
                seconds = float(probe(path).seconds or 0)
                return seconds, f"the given {name}, {path}, lasts {seconds:g} s"
            seconds = (media.clip if isinstance(media, Generated) else media).seconds
            return seconds, f"the given {name} lasts {seconds:g} s"
        return 0, ""

    def _frames(self, format: Format, audio: Clip | None, video: Clip | None) -> int:
        """How many frames the clip has, at the format's rate."""
        from harmony_parts.media.frames import frames_for

        available = None
        if video is not None:
            assert video.frames is not None
            available = frames_for(len(video.frames), video.fps, format.fps)
        if available is not None and self.seconds is None:
            frames = available
        else:
            default = format.seconds if audio is None else audio.seconds
            frames = max(1, round((self.seconds or default) * format.fps))
        if available is not None and frames > available:
            raise RequestError(
                f"{float(self.seconds or 0):g} s are requested, and the given video lasts"
                f" {float(available / format.fps):.2f} s; leave `seconds` out to use all of it"
            )
        if frames > LONGER * format.frames:
            warnings.warn(
                f"{float(frames / format.fps):.1f} s is much longer than the {format.seconds:g} s"
                " that this model was trained on, so expect it to drift; `seconds` sets the length",
                stacklevel=6,  # who calls `Pipeline.generate`
            )
        return frames


@attrs.frozen(eq=False)
class Inputs:
    """What a request gives a pipeline, in the model's format.

    `frames` is the clip's length. `given`: the given stream, to be encoded; `audio`: a given sound
    with its own rate and channels.
    """

    prompt: Prompt
    frames: int
    given: Clip | None
    audio: Clip | None

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


# --- media in a format ----------------------------------------------------------------------------


def _read(name: str, media: Any, what: str, **size: Any) -> Clip | None:
    """The clip of a media field, which must have `what`: "frames" or "sound"."""
    from harmony_parts.media.clip import Clip

    if media is None:
        return None
    if isinstance(media, str | os.PathLike):
        return Clip.read(media, streams={"video" if what == "frames" else "audio"}, **size)
    clip: Clip = media.clip if isinstance(media, Generated) else media
    if (clip.frames if what == "frames" else clip.waveform) is None:
        raise RequestError(f"the clip that is given as {name} has no {what}")
    return clip


def _sound(name: str, clip: Clip, format: Format) -> Tensor:
    """[channels, samples]: the sound with the format's channels, at its rate."""
    from harmony_parts.media.waveform import resample, to_channels

    assert clip.waveform is not None
    try:
        sound = to_channels(clip.waveform, format.channels)
    except ValueError as error:
        raise RequestError(f"{name}: {error}") from error
    return resample(sound, clip.sample_rate, format.sample_rate)


def _at_fps(clip: Clip, format: Format, count: int) -> Tensor:
    """[count, H, W, 3]: the frames at the format's size and rate."""
    from harmony_parts.media.frames import regrid

    return regrid(_covered(clip, format), clip.fps, format.fps, count)


def _covered(clip: Clip, format: Format, first: int | None = None) -> Tensor:
    """The (first) frames, scaled and cropped to the format's size."""
    from harmony_parts.media.frames import cover

    assert clip.frames is not None
    return cover(clip.frames[:first], format.height, format.width)
