"""Contract check of filters."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from harmony_parts.av import AV, STREAMS, Format, Prompt
from harmony_parts.data.protocol import Example
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.filters.protocol import Filter, FilterSpec
from harmony_parts.media.clip import Clip
from harmony_parts.testing.contracts.require import check_value, no_global_randomness, require


def check_filter(spec: FilterSpec) -> Filter:
    """Build the filter on the CPU and check the contract of its kind; returns the filter.

    Checked with clips of Soundstage, of one frame, without a stream, silent and black: it analyses
    each stream without the other; the same clip gives the same judgement; a reason is a line of
    text; streams of different clips can be judged together; nothing is changed in place or drawn
    from the global generator. Raises PartContractError.
    """
    check_value(spec)
    with no_global_randomness(spec):
        built = spec.build(device="cpu")
        reads = built.reads
        require(set(reads) <= set(STREAMS), spec, f"read 'video' or 'audio', not {reads!r}")
        found = [_analysed(spec, built, example) for example in _examples()]
        for one in found:
            for other in found:
                _judged(spec, built, one.video, other.audio)
    return built


def _examples() -> list[Example]:
    form = Format(fps=8, height=32, width=32, sample_rate=8000, seconds=1.0)
    world = Soundstage().build(format=form)
    first, second = (world.example(i, torch.Generator()) for i in range(2))
    assert first.clip.frames is not None
    assert first.clip.waveform is not None
    changed = [
        attrs.evolve(first.clip, frames=first.clip.frames[:1]),
        attrs.evolve(first.clip, frames=None),
        attrs.evolve(first.clip, waveform=None),
        attrs.evolve(first.clip, waveform=first.clip.waveform * 0),
        attrs.evolve(first.clip, frames=first.clip.frames * 0),
    ]
    return [first, second, *(Example(f"clip {i}", c, Prompt()) for i, c in enumerate(changed))]


def _analysed(spec: FilterSpec, built: Filter, example: Example) -> AV[Any]:
    kept = example.clip.frames, example.clip.waveform
    before = [None if x is None else x.clone() for x in kept]
    found = built.analyse(example)
    require(isinstance(found, AV), spec, f"return an AV from `analyse`, not {found!r}")
    for now, then in zip(kept, before):
        require(
            then is None or torch.equal(now, then),  # type: ignore[arg-type]
            spec,
            "leave the clip as it is",
        )
    for stream in built.reads if None not in kept else ():
        alone = attrs.evolve(example, clip=_only(stream, example.clip))
        one, other = (
            built.fault(*(getattr(features, s) if s == stream else None for s in STREAMS))
            for features in (built.analyse(alone), found)
        )
        require(one == other, spec, f"analyse the {stream} without the other stream")
    first, again = (built.fault(f.video, f.audio) for f in (found, built.analyse(example)))
    require(first == again, spec, f"judge a clip the same twice, not {first!r} and {again!r}")
    return found


def _only(stream: str, clip: Clip) -> Clip:
    if stream == "video":
        return attrs.evolve(clip, waveform=None)
    return attrs.evolve(clip, frames=None)


def _judged(spec: FilterSpec, built: Filter, video: Any, audio: Any) -> None:
    why = built.fault(video, audio)
    require(
        why is None or (isinstance(why, str) and why.strip() and "\n" not in why),
        spec,
        f"give a reason in one line, or None, not {why!r}",
    )
