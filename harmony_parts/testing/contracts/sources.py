"""Contract check of sources."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import torch

from harmony_parts.av import STREAMS
from harmony_parts.sources.protocol import Reader, SourceSpec
from harmony_parts.testing.contracts.require import check_value, no_global_randomness, require


def check_source(spec: SourceSpec, *, root: str | Path | None = None, clips: int = 4) -> Reader:
    """Build the source and check the contract of its kind; returns the reader.

    `root` is the folder or URL of a source that reads one. Checked: every clip is in one group of a
    share above 0 and has a shape; `clips` clips from the first to the last have these shapes, the
    same when they are read again and in a copy of the reader that was sent to a worker; the reader
    gives only the streams that are asked for; nothing is drawn from the global generator. Raises
    PartContractError.
    """
    check_value(spec)
    with no_global_randomness(spec):
        reader = spec.build(root=root)
        count = len(reader)
        require(count >= 1, spec, "have at least one clip")
        require(
            reader.identity and spec.build(root=root).identity == reader.identity,
            spec,
            "have the same `identity` each time that it is built",
        )
        streams = tuple(reader.streams)
        require(streams and set(streams) <= set(STREAMS), spec, f"name streams, not {streams!r}")
        _check_order(spec, reader)
        copy: Reader = ForkingPickler.loads(ForkingPickler.dumps(reader))  # as workers get it
        for number in {round(k * (count - 1) / max(1, clips - 1)) for k in range(clips)}:
            _check_clip(spec, reader, copy, number, streams)
    return reader


def _check_order(spec: SourceSpec, reader: Reader) -> None:
    drawn = np.sort(np.concatenate([group.clips for group in reader.groups]))
    whole = np.array_equal(drawn, np.arange(len(reader)))
    require(whole, spec, "have each clip in one group")
    require(all(group.share > 0 for group in reader.groups), spec, "have shares above 0")
    shapes = reader.shape_of
    inside = len(shapes) == len(reader) and shapes.min() >= 0 and shapes.max() < len(reader.shapes)
    require(inside, spec, "have an index into `shapes` for each clip")


def _check_clip(
    spec: SourceSpec, reader: Reader, copy: Reader, number: int, streams: tuple[str, ...]
) -> None:
    clip = reader.read(number, 0, streams)
    shape = reader.shapes[int(reader.shape_of[number])]
    for stream in streams:
        found = tuple(clip.latents[stream].shape)
        require(
            found == tuple(shape[stream]),
            spec,
            f"give clip {number} the {stream} shape {tuple(shape[stream])}, not {found}",
        )
        alone = reader.read(number, 0, (stream,)).latents
        require(tuple(alone) == (stream,), spec, f"give only {stream} if only that is asked for")
        for other in (reader, copy):
            again = other.read(number, 0, streams)
            require(
                again.name == clip.name
                and torch.equal(again.latents[stream], clip.latents[stream]),
                spec,
                f"give clip {number} the same {stream} each time",
            )
    rows = {name: len(condition.tokens) for name, condition in clip.conditions.items()}
    require(all(n == 1 for n in rows.values()), spec, f"give conditions of one row, not {rows}")
