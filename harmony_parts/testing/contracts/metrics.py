"""Contract check of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isclose, isfinite
from typing import Any

import attrs
import torch

from harmony_parts.av import AV, STREAMS, Event, Format
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.errors import PartContractError
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import (
    AnalysesBatches,
    GivesReasons,
    Metric,
    MetricSpec,
    Reference,
    WeighsNumbers,
    streams_read,
)
from harmony_parts.testing.contracts.require import check_value, no_global_randomness, require

Numbers = dict[str, float]
FIELDS = {"video": "frames", "audio": "waveform"}  # stream -> its field of a Clip


class NothingScored(PartContractError):
    """The metric gives no number for any of the clips: it may need others, with speech say."""


def check_metric(spec: MetricSpec, *, clips: Sequence[Clip] | None = None) -> Metric:
    """Build the metric on the CPU and check the contract of its kind; returns the metric.

    `clips` have picture and sound, and the metric must give a number for at least one of them. By
    default they are Soundstage clips of two lengths and frame rates. Checked: it analyses each
    stream that it reads without the other; its numbers are finite, reproducible, and unchanged by a
    truth or a reference; weights are finite and at least 0; nothing is changed in place or drawn
    from the global generator; batches give the numbers of single clips to 0.1 %, and reasons are
    text; and silence, black, one frame, or sound without a sample give neither
    an error nor NaN. Raises PartContractError.
    """
    check_value(spec)
    clips = _soundstage() if clips is None else list(clips)
    with no_global_randomness(spec):
        metric = spec.build(device="cpu")
        _check_built(spec, metric)
        analyses = [_analysed(metric, clip) for clip in clips]
        numbers = [
            each
            for clip, found in zip(clips, analyses, strict=True)
            for each in _check_scores(metric, clip, found)
        ]
        if isinstance(metric, AnalysesBatches):
            _check_batch(metric, clips, analyses)
        if not any(numbers):
            raise NothingScored(
                f"{metric!r} must give a number for at least one of the clips; pass `clips` that it"
                " can score"
            )
        numbers += [_scored(metric, one.video, two.audio) for one in analyses for two in analyses]
        numbers += [
            each
            for name, odd in _odd(clips[0])
            for each in _check_odd(metric, name, odd, analyses[0])
        ]
    _check_weights(metric, numbers)
    return metric


def _check_built(spec: MetricSpec, metric: Metric) -> None:
    require(isinstance(metric, Metric), spec, "build a metric, with `analyse` and `score`")
    reads = streams_read(metric)
    right = isinstance(reads, tuple) and bool(reads) and set(reads) <= set(STREAMS)
    require(right, spec, f"declare in `reads` a tuple of streams, not {reads!r}")


def _soundstage() -> list[Clip]:
    """A ball and a hammer."""
    forms = [
        Format(fps, 32, 48, sample_rate, seconds)
        for fps, sample_rate, seconds in ((12, 16000, 2.0), ("24000/1001", 8000, 1.5))
    ]
    sets = [Soundstage().build(format=form) for form in forms]
    return [each.example(number).clip for number, each in enumerate(sets)]


def _analysed(metric: Metric, clip: Clip) -> AV[Any]:
    """The analysis of a clip, which must leave the clip unchanged."""
    tensors = {s: getattr(clip, f) for s, f in FIELDS.items() if getattr(clip, f) is not None}
    copies = {stream: tensor.clone() for stream, tensor in tensors.items()}
    found = metric.analyse(clip)
    wanted = [stream for stream in tensors if stream in streams_read(metric)]
    require(
        isinstance(found, AV) and list(found) == wanted,
        metric,
        "return an AV of the streams that a clip has and it reads, here"
        f" {' and '.join(wanted) or 'none'}",
    )
    same = all(torch.equal(tensor, copies[stream]) for stream, tensor in tensors.items())
    require(same, metric, "leave clips unchanged: it changed one of their tensors in place")
    return found


def _scored(metric: Metric, video: Any, audio: Any, *given: Any) -> Numbers:
    """The numbers of a pair, which must be finite; `given`: truth and reference."""
    if isinstance(metric, GivesReasons):
        why = metric.reason(video, audio, *given[1:])
        require(isinstance(why, str), metric, f"give reasons as text, not {why!r}")
    numbers = metric.score(video, audio, *given)
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
        f"score with finite floats, and leave out undefined numbers; it gave {', '.join(odd)}",
    )
    return numbers


def _check_scores(metric: Metric, clip: Clip, found: AV[Any]) -> Iterator[Numbers]:
    """Score one clip: twice, from its single streams, and with a truth or a reference."""
    plain = _scored(metric, found.video, found.audio)
    picture, sound = attrs.evolve(clip, waveform=None), attrs.evolve(clip, frames=None)
    apart = _scored(metric, _analysed(metric, picture).video, _analysed(metric, sound).audio)
    again = _analysed(metric, clip)
    require(
        plain
        == _scored(metric, again.video, again.audio)
        == _scored(metric, found.video, found.audio),
        metric,
        "give the same numbers for the same clip",
    )
    require(
        plain == apart,
        metric,
        "analyse picture and sound each without the other: a clip of one stream gives other"
        " numbers",
    )
    assert clip.frames is not None
    truth = tuple(Event(clip.seconds * part, "something") for part in (0.3, 0.7))
    reference = Reference("some words", sound, clip.frames[0], "clip.mp4")
    given = (((),), (truth,), (None, Reference()), (None, reference), (truth, reference))
    added = [_scored(metric, found.video, found.audio, *each) for each in given]
    require(
        all(plain.items() <= numbers.items() for numbers in added),
        metric,
        "give with a truth or a reference all numbers that it gives without, unchanged: re-paired"
        " clips have neither",
    )
    yield from (plain, *added)


def _odd(clip: Clip) -> Iterator[tuple[str, Clip]]:
    """Clips for which many numbers are undefined."""
    frames, waveform = clip.frames, clip.waveform
    assert frames is not None
    assert waveform is not None
    silent, black = torch.zeros_like(waveform), torch.zeros_like(frames)
    samples = round(clip.sample_rate / clip.fps)
    yield "silence", attrs.evolve(clip, waveform=silent)
    yield "a black picture", attrs.evolve(clip, frames=black)
    yield "black and silence", attrs.evolve(clip, frames=black, waveform=silent)
    yield "one frame", attrs.evolve(clip, frames=frames[:1], waveform=waveform[:, :samples])
    yield "sound without a sample", attrs.evolve(clip, waveform=waveform[:, :0])
    yield "two channels", attrs.evolve(clip, waveform=waveform.mean(0).repeat(2, 1))


def _check_odd(metric: Metric, name: str, clip: Clip, other: AV[Any]) -> list[Numbers]:
    try:
        found = _analysed(metric, clip)
        return [
            _scored(metric, found.video, found.audio),
            _scored(metric, found.video, other.audio),
            _scored(metric, other.video, found.audio),
        ]
    except PartContractError as error:
        raise PartContractError(f"{error} (a clip of {name})") from error
    except Exception as error:
        raise PartContractError(
            f"{metric!r} must accept a clip of {name}, and leave out undefined numbers; it raised"
            f" {error!r}"
        ) from error


def _check_batch(metric: Metric, clips: Sequence[Clip], analyses: Sequence[AV[Any]]) -> None:
    """All clips at once, and the first alone, against the clips one by one."""
    assert isinstance(metric, AnalysesBatches)
    require(metric.batch >= 1, metric, f"take batches of at least 1, not {metric.batch}")
    for many in (clips, clips[:1]):
        found = metric.analyse_batch(many)
        require(len(found) == len(many), metric, "give one analysis for each clip of a batch")
        for one, alone in zip(found, analyses):
            both = [_scored(metric, each.video, each.audio) for each in (one, alone)]
            same = both[0].keys() == both[1].keys() and all(
                isclose(both[0][name], both[1][name], rel_tol=1e-3, abs_tol=1e-3)
                for name in both[0]
            )
            require(same, metric, f"give the same numbers in a batch as alone, not {both}")


def _check_weights(metric: Metric, scores: Sequence[Numbers]) -> None:
    if not isinstance(metric, WeighsNumbers):
        return
    for numbers in scores:
        weights = metric.weights(dict(numbers))
        right = all(
            isinstance(weight, float | int) and isfinite(weight) and weight >= 0
            for weight in weights.values()
        )
        require(right, metric, f"give weights that are finite and at least 0, not {weights}")
