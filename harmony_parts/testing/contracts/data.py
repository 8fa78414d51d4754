"""Contract check of data sets."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import Format, Prompt
from harmony_parts.data.protocol import (
    Dataset,
    DataSpec,
    Event,
    Example,
    HasFingerprints,
    HasNames,
    HasUnreadable,
)
from harmony_parts.errors import AssemblyError, MediaError
from harmony_parts.media.clip import Clip
from harmony_parts.testing.contracts.require import (
    check_made,
    generator,
    no_global_randomness,
    require,
)


def check_data(
    spec: DataSpec, format: Format, *, root: Path | None = None, examples: int = 4
) -> Dataset:
    """Build the data set and check the contract of its kind; returns the data set.

    `root` is the folder of a data set that reads one. Checked for `examples` examples from the
    first to the last: they are determined by index and generator state, in any order, and have new
    tensors each time; nothing is drawn from the global generator; clips are in the format; prompts
    and events are valid. Checked for the whole set: its length, IndexError after its end, and, if
    it has them, `names`, `unreadable` and `fingerprint`. Examples that raise MediaError are
    skipped, as in training, but at least one must not. If the clips have sound, the first example
    is checked in mono and in stereo; a data set that can't give one of them raises AssemblyError in
    `build`. Raises PartContractError.
    """
    check_made(spec)
    with no_global_randomness(spec):
        dataset = spec.build(format=format, root=root)
        count = len(dataset)
        require(
            isinstance(count, int) and count >= 1,
            spec,
            f"have at least one example; it has {count}",
        )
        bad = _check_about(spec, dataset, count)
        chosen = dict.fromkeys(
            round(k * (count - 1) / max(1, examples - 1)) for k in range(examples)
        )
        found = {
            number: made
            for number in chosen
            if number not in bad and (made := _example(spec, dataset, number)) is not None
        }
    require(
        found,
        spec,
        f"give at least one of its examples {', '.join(map(str, chosen))}; all raise MediaError",
    )
    for number, example in found.items():
        _check_example(spec, format, number, example)
        require(
            not isinstance(dataset, HasNames) or dataset.names[number] == example.name,
            spec,
            f"give example {number} the name that `names` has, not {example.name!r}",
        )
    streams = {(each.clip.frames is None, each.clip.waveform is None) for each in found.values()}
    require(len(streams) == 1, spec, "have the same streams in all its clips, as a batch needs")
    _check_again(spec, dataset, found)
    _check_channels(spec, format, root, next(iter(found.items())))
    require(_ends(dataset, count), spec, f"raise IndexError for example {count}, after its last")
    return dataset


def _example(spec: Any, dataset: Dataset, number: int, seed: int = 0) -> Example | None:
    try:
        example = dataset.example(number, generator(seed))
    except MediaError:
        return None
    require(
        isinstance(example, Example),
        spec,
        f"return an Example; example {number} is of {type(example).__name__}",
    )
    return example


def _ends(dataset: Dataset, count: int) -> bool:
    try:
        dataset.example(count, generator())
    except IndexError:
        return True
    return False


def _check_about(spec: Any, dataset: Any, count: int) -> Mapping[int, str]:
    """Check the optional members, which need no example; returns the unreadable ones."""
    named = not isinstance(dataset, HasNames) or (
        len(dataset.names) == count and all(isinstance(name, str) for name in dataset.names)
    )
    require(
        named,
        spec,
        f"have a str for each of its {count} examples in `names`, or no such attribute",
    )
    bad = dataset.unreadable if isinstance(dataset, HasUnreadable) else {}
    right = isinstance(bad, Mapping) and all(
        isinstance(n, int) and 0 <= n < count and isinstance(cause, str) for n, cause in bad.items()
    )
    require(right, spec, "map numbers of examples to causes (str) in `unreadable`")
    require(
        len(bad) < count,
        spec,
        "raise MediaError in `build` if none of its examples can be read",
    )
    if isinstance(dataset, HasFingerprints):
        for number in {0, count - 1} - set(bad):
            first = dataset.fingerprint(number)
            same = isinstance(first, str) and dataset.fingerprint(number) == first
            require(same, spec, "have the same fingerprint (str) for an example each time")
    found: Mapping[int, str] = bad
    return found


def _check_example(spec: Any, format: Format, number: int, example: Example) -> None:
    require(
        isinstance(example, Example) and isinstance(example.name, str),
        spec,
        "return an Example with a name (str)",
    )
    _check_clip(spec, format, f"example {number}", example.clip)
    _check_prompt(spec, format, f"example {number}", example.prompt)
    if (events := example.events) is None:
        return
    typed = isinstance(events, tuple) and all(
        isinstance(e, Event) and isinstance(e.what, str) and e.what for e in events
    )
    require(
        typed,
        spec,
        "have a tuple of Events, each with a word for `what`, or `None` if they are unknown"
        f" (example {number})",
    )
    times = [event.time for event in events]
    inside = all(0 <= time <= example.clip.seconds for time in times) and times == sorted(times)
    require(
        inside,
        spec,
        f"have its events in order, and within the {example.clip.seconds:g} s of its clip (example"
        f" {number})",
    )


def _check_clip(spec: Any, format: Format, where: str, clip: Clip) -> None:
    if clip.frames is not None:
        wanted, found = (format.frames, format.height, format.width, 3), tuple(clip.frames.shape)
        right = found == wanted and clip.fps == format.fps
        require(
            right,
            spec,
            f"give frames {list(wanted)} at {format.fps} a second ({where}: {list(found)} at"
            f" {clip.fps})",
        )
    if clip.waveform is not None:
        sound = [format.channels, format.samples(format.frames)]
        given = list(clip.waveform.shape)
        require(
            given == sound and clip.sample_rate == format.sample_rate,
            spec,
            f"give sound {sound} at {format.sample_rate} Hz ({where}: {given} at"
            f" {clip.sample_rate})",
        )
        require(clip.waveform.isfinite().all(), spec, f"give finite sound ({where})")


def _check_prompt(spec: Any, format: Format, where: str, prompt: Prompt) -> None:
    is_prompt = isinstance(prompt, Prompt)
    require(is_prompt, spec, f"give a Prompt, not a {type(prompt).__name__} ({where})")
    texts = (prompt.caption, prompt.sound, prompt.speech)
    require(
        all(text is None or isinstance(text, str) for text in texts),
        spec,
        f"have str or `None` for the texts of a prompt ({where})",
    )
    if (image := prompt.image) is not None:
        wanted = [format.height, format.width, 3]
        right = image.dtype == torch.uint8 and list(image.shape) == wanted
        require(
            right,
            spec,
            f"have an image of uint8 {wanted} in a prompt, or `None` ({where}: {image.dtype}"
            f" {list(image.shape)})",
        )
    if (voice := prompt.voice) is not None:
        right = (
            voice.dtype == torch.float32
            and voice.ndim == 2
            and voice.shape[0] == format.channels
            and voice.shape[1] >= 1
            and bool(voice.isfinite().all())
        )
        require(
            right,
            spec,
            f"have a voice of finite float32 [{format.channels}, samples] in a prompt, or `None`"
            f" ({where}: {voice.dtype} {list(voice.shape)})",
        )


def _check_channels(spec: Any, format: Format, root: Path | None, one: tuple[int, Example]) -> None:
    """Check an example with one channel of sound and with two."""
    number, example = one
    if example.clip.waveform is None:
        return
    for channels in {1, 2} - {format.channels}:
        other = attrs.evolve(format, channels=channels)
        try:
            dataset = spec.build(format=other, root=root)
        except AssemblyError:
            continue  # it refuses this number
        _check_example(spec, other, number, dataset.example(number, generator(0)))


def _check_again(spec: Any, dataset: Dataset, found: Mapping[int, Example]) -> None:
    """Read again in another order, and after writing into the tensors."""
    before = copy.deepcopy(dict(found))
    again = {number: _example(spec, dataset, number) for number in reversed(before)}
    same = all(map(_equal, before.values(), reversed(again.values())))
    require(
        same,
        spec,
        "give the same example for the same index and generator state, independently of earlier"
        " calls",
    )
    for example in filter(None, again.values()):
        for tensor in _tensors(example):
            with suppress(RuntimeError):  # an expanded tensor can't be written into
                tensor.zero_()
    same = all(_equal(each, _example(spec, dataset, number)) for number, each in before.items())
    require(
        same,
        spec,
        "return new tensors each time: values written into an example appear in the next one",
    )


def _equal(one: Example, two: Example | None) -> bool:
    if two is None:
        return False
    tensors, others = list(_tensors(one)), list(_tensors(two))
    plain = all(
        getattr(one.prompt, text) == getattr(two.prompt, text)
        for text in ("caption", "sound", "speech")
    )
    plain = plain and one.prompt.extra.keys() == two.prompt.extra.keys()
    alike = len(tensors) == len(others) and all(map(torch.equal, tensors, others))
    return plain and alike and (one.name, one.events) == (two.name, two.events)


def _tensors(example: Example) -> Iterator[Tensor]:
    given = (example.clip.frames, example.clip.waveform, example.prompt.image, example.prompt.voice)
    yield from (tensor for tensor in given if tensor is not None)
    yield from (value for value in example.prompt.extra.values() if isinstance(value, Tensor))
