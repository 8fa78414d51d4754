"""Long clips, window after window of the model's length, from the start or from a given clip."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import cast

import attrs
import torch
from torch import Tensor

from harmony_parts.assembly.build import derived_seed
from harmony_parts.av import AV, Format
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.errors import RequestError
from harmony_parts.generate.generated import Generated
from harmony_parts.generate.request import Inputs
from harmony_parts.generate.rescue import keep
from harmony_parts.media.clip import Clip
from harmony_parts.media.waveform import cross_fade
from harmony_parts.sample.sampler import Progress, Step

FADE = 0.05  # seconds of sound, at the end of what exists, that fade into the new sound

Clips = Sequence[Clip]
Generate = Callable[[int, Sequence[int], Clips, Clips, Clips, Progress | None], list[Clip]]
"""`generate(frames, seeds, given, draft, begin, progress)`: clips, which begin with `begin`."""


@attrs.frozen
class Window:
    """Frames `start` to `start + frames` of a clip, of which the first `known` exist already.

    All after the first `kept` are made again by the next window.
    """

    start: int
    known: int
    kept: int
    frames: int


def windows(
    begin: int,
    total: int,
    length: int,
    overlap: int,
    whole: Callable[[int], int],
    kept: Callable[[int], int],
) -> list[Window]:
    """The windows that take a clip from `begin` frames, or from nothing, to `total`.

    Each has at most `length` frames and begins with at least `overlap` frames of what is there (or
    all of it), rounded down by `whole` to whole latents. The last one begins as early as it can, so
    that it isn't shorter than the others. Of each other one, of n frames, the first `kept(n)` stay,
    or more if those aren't a latent more than what it began with. Raises RequestError if what a
    window begins with holds no whole latent.
    """
    made: list[Window] = []
    while begin < total:
        repeated = min(begin, max(overlap, begin + length - total))
        known = whole(repeated) if repeated else 0
        if repeated and not known:
            raise RequestError(
                f"a window begins with {repeated} frames of what is there, and a latent of this"
                " model's codec holds more; give a longer clip, or a longer overlap"
            )
        start = begin - known
        frames = min(length, total - start)
        stays = frames
        if start + frames < total:
            least = next((n for n in range(known + 1, frames) if whole(n) == n), frames)
            stays = max(least, kept(frames))
        made.append(Window(start, known, stays, frames))
        begin = start + stays
    return made


def plan(
    begin: int,
    total: int,
    codecs: AV[VideoCodec | AudioCodec],
    format: Format,
    overlap: int,
    remake: int,
) -> list[Window]:
    """`windows` of a model's length, for the codecs of the streams that are generated.

    If `remake` isn't 0, each window but the last loses at least that many frames, whole latents of
    the video and at least one latent of the sound: its end was made without what follows it.
    Raises RequestError if what a window begins with holds no whole latent.
    """
    whole = _whole(cast(VideoCodec, codecs["video"])) if "video" in codecs else int
    sound = cast(AudioCodec, codecs["audio"]) if "audio" in codecs else None

    def kept(frames: int) -> int:
        if not remake:
            return frames
        rest = frames - remake
        if sound is not None:
            samples = sound.samples(sound.latents(format.samples(frames)) - 1)
            rest = min(rest, int(samples / format.sample_rate * format.fps))
        return whole(max(rest, 0))

    made = windows(begin, total, format.frames, overlap, whole, kept)
    if sound is not None and "video" not in codecs:
        _check_known_sound(made, sound, format)
    return made


def _check_known_sound(made: Sequence[Window], codec: AudioCodec, format: Format) -> None:
    """Raise RequestError if a window repeats less than a latent of sound, and nothing else."""
    for window in made:
        first, last = format.samples(window.start), format.samples(window.start + window.known)
        if window.known and not _whole_samples(codec, last - first):
            raise RequestError(
                f"the overlap of {(last - first) / format.sample_rate:.3g} s is shorter than a"
                " latent of this model's sound; set a longer one"
            )


def continue_clip(
    inputs: Inputs,
    seed: int,
    codecs: AV[VideoCodec | AudioCodec],
    format: Format,
    generate: Generate,
    progress: Progress | None,
) -> Clip:
    """`inputs.begin` and what comes after it, `inputs.frames` frames in all, of generated streams.

    Without `begin`, the first window is made from noise. Each later window begins with the last
    frames of what is there, encoded as a clip by itself, as in training: the first latent of a
    causal codec covers one frame. Those frames stay as they are. Of the sound, the last `FADE`
    seconds fade into that of the window. The first window has the request's seed, later ones seeds
    derived from it. If one fails or is stopped, those before it are kept in a file, which a note of
    the exception names.
    """
    generated = _generated(inputs, tuple(codecs))
    todo = plan(
        inputs.begun, inputs.frames, codecs.only(generated), format, inputs.overlap, inputs.remake
    )
    clip = inputs.begin and _only(inputs.begin, generated)
    for number, window in enumerate(todo):
        given, draft = (
            [_part(whole, format, window.start, window.frames)] if whole else []
            for whole in (inputs.given, inputs.draft)
        )
        begin = [_known(_part(clip, format, window.start, window.known), codecs)] if clip else []
        try:
            (made,) = generate(
                window.frames,
                [derived_seed(seed, f"window {number}") if number else seed],
                given,
                draft,
                begin,
                _of_all(progress, number, len(todo)),
            )
        except BaseException as error:  # Ctrl-C too
            if clip and number:
                error.add_note(
                    f"{number} of {len(todo)} windows are finished"
                    f"{keep(Generated(clip), 'unfinished.mp4')}; `begin` goes on from it"
                )
            raise
        made = _only(made, generated)
        clip = _joined(clip, made, window, format) if clip else _part(made, format, 0, window.kept)
    assert clip is not None  # a request with nothing left to generate was refused
    return clip


def _generated(inputs: Inputs, streams: Collection[str]) -> list[str]:
    """Those streams of a model that are generated."""
    given = inputs.given
    there = {"video": given.frames, "audio": given.waveform} if given else {}
    return [stream for stream in streams if there.get(stream) is None]


def _only(clip: Clip, streams: Collection[str]) -> Clip:
    return attrs.evolve(
        clip,
        frames=clip.frames if "video" in streams else None,
        waveform=clip.waveform if "audio" in streams else None,
    )


def _whole(codec: VideoCodec) -> Callable[[int], int]:
    """Frames, rounded down to whole latents; 0 if they hold none."""

    def rounded(frames: int) -> int:
        count = codec.latents(frames)
        if codec.frames(count) > frames:
            count -= 1
        return codec.frames(count) if count else 0

    return rounded


def _part(clip: Clip, format: Format, start: int, frames: int) -> Clip:
    """The frames from `start`, and their sound."""
    first, last = format.samples(start), format.samples(start + frames)
    return attrs.evolve(
        clip,
        frames=None if clip.frames is None else clip.frames[start : start + frames],
        waveform=None if clip.waveform is None else clip.waveform[:, first:last],
    )


def _known(tail: Clip, codecs: AV[VideoCodec | AudioCodec]) -> Clip:
    """The part of a clip that is encoded: its sound is cut to whole latents."""
    if tail.waveform is None:
        return tail
    samples = _whole_samples(cast(AudioCodec, codecs["audio"]), tail.waveform.shape[1])
    return attrs.evolve(tail, waveform=tail.waveform[:, :samples] if samples else None)


def _whole_samples(codec: AudioCodec, samples: int) -> int:
    """Samples, rounded down to whole latents; 0 if they hold none."""
    count = codec.latents(samples)
    while count and codec.samples(count) > samples:
        count -= 1
    return codec.samples(count) if count else 0


def _joined(clip: Clip, made: Clip, window: Window, format: Format) -> Clip:
    """The clip and what a window adds to it and keeps; its sound fades in before the seam."""
    first, last = format.samples(window.start), format.samples(window.start + window.kept)

    def sound(old: Tensor, new: Tensor) -> Tensor:
        return cross_fade(old, new[:, : last - first], first, round(FADE * format.sample_rate))

    return attrs.evolve(
        clip,
        frames=(
            None
            if clip.frames is None or made.frames is None
            else torch.cat((clip.frames, made.frames[window.known : window.kept]))
        ),
        waveform=(
            None
            if clip.waveform is None or made.waveform is None
            else sound(clip.waveform, made.waveform)
        ),
    )


def _of_all(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Progress over the steps of all windows; latents and estimate are those of one window."""
    if progress is None:
        return None

    def report(step: Step) -> None:
        steps = step.steps
        progress(attrs.evolve(step, done=number * steps + step.done, steps=count * steps))

    return report
