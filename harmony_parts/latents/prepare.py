"""Prepared clips: the examples of a data set, encoded once before training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.data.protocol import Dataset
from harmony_parts.latents.conditions import concatenate, conditions_of, is_frozen
from harmony_parts.latents.encode import encode_examples
from harmony_parts.latents.sources import Prepared

CHUNK = 16  # examples that are encoded at a time, if they are small
CHUNK_BYTES = 1 << 28  # of their frames
Track = Callable[[Iterable[int], int], Iterable[int]]
"""`track(numbers, total)`: yields the numbers and shows progress."""


def choose_examples(size: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` random numbers below `size`, each as often as any other to within one.

    A number that repeats gives a new random cut of its example.
    """
    rounds = [torch.randperm(size, generator=generator) for _ in range(-(-count // size))]
    return torch.cat(rounds)[:count].tolist()


def prepare_clips(
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
    """Read and encode the `chosen` examples, with the codecs and the frozen encoders on `device`.

    Raises RunError, naming the example, if a clip isn't in the format.
    """
    frozen = [encoder for encoder in encoders.values() if is_frozen(encoder)]
    latents: list[AV[Tensor]] = []
    conditions: list[dict[str, Condition]] = []
    prompts: list[Prompt] = []
    names: list[str] = []
    size = max(1, min(CHUNK, CHUNK_BYTES // (3 * format.frames * format.height * format.width)))
    for begin in track(range(0, len(chosen), size), -(-len(chosen) // size)):
        examples = [dataset.example(i, generator) for i in chosen[begin : begin + size]]
        chunk = [example.prompt for example in examples]
        latents.append(encode_examples(examples, format, codecs, device).map(Tensor.cpu))
        with torch.no_grad():
            encoded = conditions_of(frozen, chunk)
        conditions.append({name: condition.to("cpu") for name, condition in encoded.items()})
        prompts += chunk
        names += [example.name for example in examples]
    return Prepared(
        latents=latents[0].map(lambda *chunks: torch.cat(chunks), *latents[1:]),
        conditions={
            name: concatenate([chunk[name] for chunk in conditions]) for name in conditions[0]
        },
        trainable=tuple(encoder for encoder in encoders.values() if not is_frozen(encoder)),
        prompts=tuple(prompts),
        names=tuple(names),
        device=device,
    )
