"""The data of a run: the source of its batches, and how a resumed run recognises its data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import torch

from harmony_parts.assembly.build import Parts, derived_seed
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.data.protocol import Dataset, HasNames
from harmony_parts.errors import RunError
from harmony_parts.latents.cache import FOLDER, cache_key, load_prepared, save_prepared
from harmony_parts.latents.made_with import check_made_with, made_with
from harmony_parts.latents.order import BatchOrder
from harmony_parts.latents.prepare import choose_examples, prepare_clips
from harmony_parts.latents.readable import Readable
from harmony_parts.latents.sources import OnTheFly, Prepared, Source
from harmony_parts.latents.stored import Stored
from harmony_parts.latents.stream import BatchStream
from harmony_parts.models.offload import Offload, move_weights, weights_on_device
from harmony_parts.strategies.protocol import Strategy
from harmony_parts.train.log import Log
from harmony_parts.train.model import frozen_encoders, frozen_parts, trainable_encoders


@attrs.frozen(eq=False)
class TrainingData:
    """Where a run's batches come from.

    `unreadable`: number of each clip that couldn't be read -> why; it grows during the run.
    `identity` is stored in checkpoints: the number of examples and a digest of their names.
    """

    batches: BatchStream
    unreadable: Mapping[int, str]
    identity: dict[str, Any]

    def check_unchanged(self, saved: Mapping[str, Any]) -> None:
        """Raise RunError if the checkpoint `saved` was made with other data."""
        before = saved.get("data", self.identity)
        if before == self.identity:
            return
        was, now = before["examples"], self.identity["examples"]
        differ = (
            f"{was} examples, now {now}" if was != now else f"{now} examples as now, but others"
        )
        raise RunError(
            f"the checkpoint of step {saved['step']} was made with other data ({differ}); resume"
            " with the run's own, unchanged folder of clips (--data), or begin a new run (--out)"
        )


def open_data(
    recipe: Recipe,
    parts: Parts,
    root: str | Path | None,
    strategy: Strategy,
    log: Log,
    *,
    workers: int = 0,
) -> TrainingData:
    """Open the source of batches: stored clips, prepared clips in memory, or clips encoded on the
    fly. Each process gets its rows of every batch; `workers` processes read stored clips ahead.

    Clips that are prepared here are a function of the seed, so a resumed run makes or loads the
    same ones. Raises RunError if the data set is empty, a clip isn't in the model's format, or
    stored clips were made with other parts.
    """
    device = strategy.device
    unreadable: Mapping[int, str] = {}
    source: Source
    if recipe.source is not None:
        source, identity = _stored(recipe, parts, root, device)
    else:
        folder = None if root is None else Path(root)
        source, unreadable, identity = _encoded(recipe, parts, folder, device, log)
        workers = 0
    seed = derived_seed(recipe.train.seed, "train:order")
    order = BatchOrder(source.groups, source.shapes, recipe.train.batch, seed)
    batches = BatchStream(
        source,
        order,
        rank=strategy.rank // strategy.seq,
        ranks=strategy.ranks // strategy.seq,
        workers=workers,
    )
    return TrainingData(batches, unreadable, identity)


def _stored(
    recipe: Recipe, parts: Parts, root: str | Path | None, device: torch.device
) -> tuple[Source, dict[str, Any]]:
    """Clips that `harmony prepare` wrote."""
    assert recipe.source is not None
    reader = recipe.source.build(root=root)
    if not len(reader):
        raise RunError("the source of clips is empty: there is nothing to train on")
    streams = tuple(parts.codecs)
    if missing := [stream for stream in streams if stream not in reader.streams]:
        raise RunError(
            f"$.source: its clips have no {' and no '.join(missing)}, which the model needs:"
            " prepare them with this recipe"
        )
    now = made_with(recipe, parts)
    for before in reader.made_with:
        check_made_with(before, now, streams, "$.source")
    encoders: tuple[Any, ...] = frozen_encoders(parts)
    frozen = frozenset(name for encoder in encoders for name in encoder.produces)
    source = Stored(reader, streams, frozen, trainable_encoders(parts), device)
    return source, {"examples": len(reader), "names": _digest([reader.identity])}


def _encoded(
    recipe: Recipe, parts: Parts, root: Path | None, device: torch.device, log: Log
) -> tuple[Source, Mapping[int, str], dict[str, Any]]:
    """Clips of the recipe's data set, encoded in this process."""
    dataset = recipe.data.build(format=parts.format, root=root)
    if not len(dataset):
        raise RunError("the data set is empty: there is nothing to train on")
    readable = Readable(dataset, log.say)
    source: Source
    names: Sequence[str] | None
    if recipe.train.prepared:
        source = prepared = _prepared(recipe, parts, readable, device, log)
        names = prepared.names
    else:
        for part in frozen_parts(parts):
            move_weights(part, device)
        encoders: dict[str, Any] = dict(parts.encoders)
        seed = recipe.train.seed
        source = OnTheFly(readable, parts.format, parts.codecs, encoders, device, seed)
        names = dataset.names if isinstance(dataset, HasNames) else None
    identity = {"examples": len(dataset), "names": None if names is None else _digest(names)}
    return source, readable.unreadable, identity


def _prepared(
    recipe: Recipe, parts: Parts, readable: Readable, device: torch.device, log: Log
) -> Prepared:
    """The prepared clips, from the run folder's cache if they are in it."""
    generator = torch.Generator().manual_seed(derived_seed(recipe.train.seed, "train:data"))
    chosen = choose_examples(len(readable), recipe.train.prepared, generator)
    # The key doesn't know what replaces an unreadable clip: then nothing is cached.
    key = None
    if not readable.unreadable:
        key = cache_key(recipe, readable.dataset, chosen, made_with(recipe, parts))
    folder = log.folder / FOLDER
    if key is not None:
        cached = load_prepared(folder, key, trainable_encoders(parts), device, log.say)
        if cached is not None:
            return cached
    prepared = encode_chosen(parts, readable, chosen, generator, device, log)
    if key is not None and not readable.unreadable:
        save_prepared(folder, key, prepared)
    return prepared


def encode_chosen(
    parts: Parts,
    dataset: Dataset,
    chosen: Sequence[int],
    generator: torch.Generator,
    device: torch.device,
    log: Log,
) -> Prepared:
    """The `chosen` examples, encoded; codecs and frozen encoders are on `device` only meanwhile.

    Raises RunError, naming the example, if a clip isn't in the model's format.
    """
    encoders: dict[str, Any] = dict(parts.encoders)
    offload: Offload = "none" if device.type == "cpu" else "parts"
    with ExitStack() as stack:
        for part in frozen_parts(parts):
            stack.enter_context(weights_on_device(part, device, offload))
        return prepare_clips(
            dataset,
            chosen,
            parts.format,
            parts.codecs,
            encoders,
            generator=generator,
            device=device,
            track=log.track,
        )


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(names).encode("utf-8", errors="replace")).hexdigest()
