"""From a data set to batches of latents and conditions: made once and kept in memory, or anew for
every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import attrs
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.data.protocol import Dataset, Example
from harmony_parts.errors import RunError

CHUNK = 16  # examples that are encoded at a time
Track = Callable[[Iterable[int], int], Iterable[int]]
"""`track(numbers, total)`: the same numbers, with a progress bar."""


@attrs.frozen(eq=False)
class Batch:
    """n clips: clean latents [n, ...], their conditions, and their names for messages."""

    latents: AV[Tensor]
    conditions: dict[str, Condition]
    names: tuple[str, ...]


class Source(Protocol):
    """Batches by the numbers of their clips."""

    def __len__(self) -> int:
        """How many clips there are."""

    def batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        """The clips of `index` (int64 [n]). Trainable encoders are run here, with gradients."""


def encode(
    examples: Sequence[Example],
    format: Format,
    codecs: AV[VideoCodec | AudioCodec],
    device: torch.device,
) -> AV[Tensor]:
    """Latents of clips in the model's format. Raises RunError for a clip that isn't."""
    frames, samples = [], []
    for example in examples:
        clip = example.clip
        if codecs.video is not None:
            if clip.frames is None or tuple(clip.frames.shape) != (
                format.frames,
                format.height,
                format.width,
                3,
            ):
                seen = (
                    "no picture" if clip.frames is None else f"frames of {list(clip.frames.shape)}"
                )
                raise RunError(
                    f"{example.name}: has {seen}; the model's format is"
                    f" {[format.frames, format.height, format.width, 3]}"
                )
            frames.append(clip.frames)
        if codecs.audio is not None:
            wanted = (format.samples(format.frames), format.sample_rate)
            if clip.waveform is None or (clip.waveform.shape[1], clip.sample_rate) != wanted:
                seen = (
                    "no sound"
                    if clip.waveform is None
                    else f"{clip.waveform.shape[1]} samples at {clip.sample_rate} Hz"
                )
                raise RunError(
                    f"{example.name}: has {seen}; the model's format is {wanted[0]} samples at"
                    f" {wanted[1]} Hz"
                )
            samples.append(clip.mono())
    given: AV[list[Tensor]] = AV(frames or None, samples or None)
    with torch.no_grad():
        return given.map(
            lambda stream, codec: codec.encode(torch.stack(stream).to(device)).to(device), codecs
        )


def is_frozen(encoder: nn.Module) -> bool:
    """Whether what it says of a prompt stays the same throughout a run."""
    return not any(parameter.requires_grad for parameter in encoder.parameters())


def conditions_of(encoders: Iterable[nn.Module], prompts: Sequence[Prompt]) -> dict[str, Condition]:
    """What the encoders say of the prompts, by name."""
    return {name: condition for encoder in encoders for name, condition in encoder(prompts).items()}


@attrs.frozen(eq=False)
class OnTheFly:
    """Every clip is made, and encoded, when a step asks for it: each time a new random cut, where
    the data set makes them.
    """

    dataset: Dataset
    format: Format
    codecs: AV[VideoCodec | AudioCodec]
    encoders: Mapping[str, nn.Module]
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        """See `Source`."""
        examples = [self.dataset.example(i, generator) for i in index.tolist()]
        latents = encode(examples, self.format, self.codecs, self.device)
        conditions = conditions_of(self.encoders.values(), [example.prompt for example in examples])
        return Batch(latents, conditions, tuple(example.name for example in examples))


@attrs.frozen(eq=False)
class Prepared:
    """Clips kept in memory: latents, and what frozen encoders say. Encoders that are trained read
    the prompts at every step.
    """

    latents: AV[Tensor]
    frozen: Mapping[str, Condition]
    trained: tuple[nn.Module, ...]
    prompts: tuple[Prompt, ...]
    names: tuple[str, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        """See `Source`; nothing is left to `generator`."""
        numbers = index.tolist()
        latents: AV[Tensor] = self.latents.map(lambda x: x.index_select(0, index).to(self.device))
        kept = {
            name: _moved(condition.rows(index), self.device)
            for name, condition in self.frozen.items()
        }
        told = conditions_of(self.trained, [self.prompts[i] for i in numbers])
        return Batch(latents, kept | told, tuple(self.names[i] for i in numbers))


def choose(size: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` of `size` examples, at random, each as often as any other to within one; what repeats
    is a new random cut.
    """
    rounds = [torch.randperm(size, generator=generator) for _ in range(-(-count // size))]
    return torch.cat(rounds)[:count].tolist()


def prepare(
    dataset: Dataset,
    chosen: Sequence[int],
    format: Format,
    codecs: AV[VideoCodec | AudioCodec],
    encoders: Mapping[str, nn.Module],
    *,
    generator: torch.Generator,
    device: torch.device,
    track: Track = lambda numbers, total: numbers,
) -> Prepared:
    """Encode the examples of these numbers."""
    count = len(chosen)
    still = [encoder for encoder in encoders.values() if is_frozen(encoder)]
    latents: list[AV[Tensor]] = []
    kept: list[dict[str, Condition]] = []
    prompts: list[Prompt] = []
    names: list[str] = []
    for begin in track(range(0, count, CHUNK), -(-count // CHUNK)):
        examples = [dataset.example(i, generator) for i in chosen[begin : begin + CHUNK]]
        asked = [example.prompt for example in examples]
        latents.append(encode(examples, format, codecs, device).map(Tensor.cpu))
        with torch.no_grad():
            kept.append(
                {
                    name: _moved(c, torch.device("cpu"))
                    for name, c in conditions_of(still, asked).items()
                }
            )
        prompts += asked
        names += [example.name for example in examples]
    return Prepared(
        latents=latents[0].map(lambda *chunks: torch.cat(chunks), *latents[1:]),
        frozen={name: _joined([chunk[name] for chunk in kept]) for name in kept[0]},
        trained=tuple(encoder for encoder in encoders.values() if not is_frozen(encoder)),
        prompts=tuple(prompts),
        names=tuple(names),
        device=device,
    )


def _moved(condition: Condition, device: torch.device) -> Condition:
    null = None if condition.null is None else _moved(condition.null, device)
    return Condition(condition.tokens.to(device), condition.mask.to(device), null)


def _joined(chunks: Sequence[Condition]) -> Condition:
    """Conditions of several batches as one, all as long as the longest; what is added doesn't
    count.
    """
    longest = max(chunk.mask.shape[1] for chunk in chunks)

    def grown(x: Tensor) -> Tensor:
        return pad(x, (*(0, 0) * (x.ndim - 2), 0, longest - x.shape[1]))

    nulls = [chunk.null for chunk in chunks if chunk.null is not None]
    return Condition(
        torch.cat([grown(chunk.tokens) for chunk in chunks]),
        torch.cat([grown(chunk.mask) for chunk in chunks]),
        _joined(nulls) if nulls else None,
    )
