"""From a data set to batches of latents and conditions: made once and kept in memory, or anew for
every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.data.protocol import Dataset
from harmony_parts.latents.encode import conditions_of, encode_examples, is_frozen
from harmony_parts.latents.sources import Prepared

CHUNK = 16  # examples that are encoded at a time
Track = Callable[[Iterable[int], int], Iterable[int]]
"""`track(numbers, total)`: the same numbers, with a progress bar."""


def choose_examples(size: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` of `size` examples, at random, each as often as any other to within one; what repeats
    is a new random cut.
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
        latents.append(encode_examples(examples, format, codecs, device).map(Tensor.cpu))
        with torch.no_grad():
            kept.append({name: c.to("cpu") for name, c in conditions_of(still, asked).items()})
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
