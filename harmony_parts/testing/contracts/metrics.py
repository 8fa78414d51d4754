"""Contract check of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import attrs
import torch

from harmony_parts.av import AV, STREAMS, Format
from harmony_parts.data.protocol import Event
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.errors import PartContractError
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric
from harmony_parts.testing.contracts.require import check_value, own_randomness, require

Numbers = dict[str, float]


def check_metric(metric: Metric, *, clips: Sequence[Clip] | None = None) -> None:
    """Hold the metric to the contract of its kind, on `clips` with picture and sound, of at least
    one of which it has something to say.

    By default they are clips of Soundstage of two lengths and frame rates. Checked: what it sees in
    the streams that a clip has, each without the other; finite numbers, the same again, with a
    truth and without, of picture and sound of two clips; weights; nothing changed in place or drawn
    from the global generator; and no crash, nor NaN, for silence, black, one frame, or sound
    without a sample. Raises PartContractError.
    """
    check_value(metric)
    clips = _soundstage() if clips is None else list(clips)
    with own_randomness(metric):
        seen = [_analysed(metric, clip) for clip in clips]
        numbers = [
            each
            for clip, found in zip(clips, seen, strict=True)
            for each in _check_scores(metric, clip, found)
        ]
        require(
            any(numbers),
            metric,
            "have a number for one of the clips at least; pass `clips` of which it has something"
            " to say",
        )
        numbers += [_scored(metric, one["video"], two["audio"]) for one in seen for two in seen]
        numbers += [
            each for name, odd in _odd(clips[0]) for each in _check_odd(metric, name, odd, seen[0])
        ]
    _check_weights(metric, numbers)


def _soundstage() -> list[Clip]:
    """A ball and a hammer."""
    forms = [
        Format(fps, 32, 48, sample_rate, seconds)
        for fps, sample_rate, seconds in ((12, 16000, 2.0), ("24000/1001", 8000, 1.5))
    ]
    sets = [Soundstage().build(format=form) for form in forms]
    return [each.example(number).clip for number, each in enumerate(sets)]


def _analysed(metric: Metric, clip: Clip) -> AV[Any]:
    fields = [field for field in ("frames", "waveform") if getattr(clip, field) is not None]
    kept = [getattr(clip, field).clone() for field in fields]
    found = metric.analyse(clip)
    there = [
        stream
        for stream, field in zip(STREAMS, ("frames", "waveform"), strict=True)
        if field in fields
    ]
    require(
        isinstance(found, AV) and list(found) == there,
        metric,
        f"return an AV of the streams that a clip has, here {' and '.join(there)}",
    )
    same = all(
        torch.equal(getattr(clip, field), before)
        for field, before in zip(fields, kept, strict=True)
    )
    require(same, metric, "leave clips as they are: one of their tensors was changed in place")
    return found


def _scored(
    metric: Metric, video: Any, audio: Any, truth: Sequence[Event] | None = None
) -> Numbers:
    numbers = metric.score(video, audio, truth)
    named = isinstance(numbers, dict) and all(isinstance(name, str) and name for name in numbers)
    require(named, metric, "return a dict of named numbers")
    odd = [
        f"{name} = {number!r}"
        for name, number in numbers.items()
        if not (isinstance(number, float) and isfinite(number))
    ]
    require(
        not odd,
        metric,
        "score with finite floats, and leave out a number that has no meaning; it gave"
        f" {', '.join(odd)}",
    )
    return numbers


def _check_scores(metric: Metric, clip: Clip, found: AV[Any]) -> Iterator[Numbers]:
    """Of one clip: again, of its streams alone, and with a truth."""
    video, audio = found["video"], found["audio"]
    plain = _scored(metric, video, audio)
    picture, sound = attrs.evolve(clip, waveform=None), attrs.evolve(clip, frames=None)
    alone = _scored(metric, _analysed(metric, picture)["video"], _analysed(metric, sound)["audio"])
    truth = tuple(Event(clip.seconds * part, "something") for part in (0.3, 0.7))
    told = [_scored(metric, video, audio, events) for events in ((), truth)]
    again = _scored(metric, *_streams(_analysed(metric, clip)))
    require(
        plain == again == _scored(metric, video, audio),
        metric,
        "give the same numbers for the same clip",
    )
    require(
        plain == alone,
        metric,
        "look at picture and sound each without the other: a clip of one stream gives other"
        " numbers",
    )
    kept = all(plain.items() <= numbers.items() for numbers in told)
    require(
        kept,
        metric,
        "give the numbers that it gives without a truth with one as well, unchanged: re-paired"
        " clips have none",
    )
    yield from (plain, *told)


def _streams(found: AV[Any]) -> tuple[Any, Any]:
    return found["video"], found["audio"]


def _odd(clip: Clip) -> Iterator[tuple[str, Clip]]:
    """Clips that there is little to say of."""
    frames, waveform = clip.frames, clip.waveform
    assert frames is not None
    assert waveform is not None
    yield "silence", attrs.evolve(clip, waveform=torch.zeros_like(waveform))
    yield "a black picture", attrs.evolve(clip, frames=torch.zeros_like(frames))
    yield (
        "nothing to see or hear",
        attrs.evolve(clip, frames=torch.zeros_like(frames), waveform=torch.zeros_like(waveform)),
    )
    yield (
        "one frame",
        attrs.evolve(
            clip, frames=frames[:1], waveform=waveform[:, : round(clip.sample_rate / clip.fps)]
        ),
    )
    yield "sound without a sample", attrs.evolve(clip, waveform=waveform[:, :0])
    yield "two channels", attrs.evolve(clip, waveform=waveform.mean(0).repeat(2, 1))


def _check_odd(metric: Metric, name: str, clip: Clip, other: AV[Any]) -> list[Numbers]:
    try:
        video, audio = _streams(_analysed(metric, clip))
        return [
            _scored(metric, *pair)
            for pair in ((video, audio), (video, other["audio"]), (other["video"], audio))
        ]
    except PartContractError as error:
        raise PartContractError(f"{error} (a clip of {name})") from error
    except Exception as error:
        raise PartContractError(
            f"{metric!r} must take a clip of {name}, and leave out what has no meaning there; it"
            f" raised {error!r}"
        ) from error


def _check_weights(metric: Metric, scores: Sequence[Numbers]) -> None:
    weigh: Any = getattr(metric, "weights", None)
    for numbers in scores if weigh else ():
        weights = weigh(dict(numbers))
        right = all(
            isinstance(weight, float | int) and isfinite(weight) and weight >= 0
            for weight in weights.values()
        )
        require(
            right, metric, f"weigh its numbers with finite numbers of at least 0; it gave {weights}"
        )
