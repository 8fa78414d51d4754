"""A cache of prepared clips on disk, so that a resumed run needn't encode them again.

An entry's key covers what the clips depend on: codecs and frozen encoders with their settings and
weights (`made_with`), the format, the data set's settings, the seed, and the content of each chosen
example (`HasFingerprints`). If any of that changes, the key does, and a new entry replaces the old
one. It doesn't cover code: after changing that of a codec or an encoder, delete the folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.assembly.tables import unstructure
from harmony_parts.av import AV, Condition, Prompt
from harmony_parts.data.protocol import HasFingerprints
from harmony_parts.errors import RunError
from harmony_parts.latents.sources import Prepared
from harmony_parts.models.snapshot import Snapshot, load_snapshot, write_snapshot
from harmony_parts.sources.shard_files import FIELDS, MEDIA, json_keeps

FOLDER = "prepared"  # in the run folder


def cache_key(
    recipe: Recipe, dataset: Any, chosen: Sequence[int], made_with: Mapping[str, Any]
) -> str | None:
    """The key of the `chosen` examples, encoded by codecs and encoders with these facts.

    `None` if the data set can't identify its examples: then they aren't cached.
    """
    if not isinstance(dataset, HasFingerprints):
        return None
    try:
        examples = [dataset.fingerprint(number) for number in chosen]
    except OSError:
        return None  # reading the example will report the cause
    table = unstructure(recipe)
    facts = {
        "made_with": made_with,
        "format": table["format"],
        "data": table["data"],
        "seed": recipe.train.seed,
        "examples": examples,
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def load_prepared(
    folder: Path,
    key: str,
    trainable: Sequence[nn.Module],
    device: torch.device,
    warn: Callable[[str], None],
) -> Prepared | None:
    """The entry of that key, or `None`; `warn` gets a line if it is damaged."""
    if not (folder / key).is_dir():
        return None
    try:
        entry = load_snapshot(folder / key)
        media = entry.tensors["prompts"]
        prompts = (
            Prompt(**texts, image=media.get(f"{i}/image"), voice=media.get(f"{i}/voice"))
            for i, texts in enumerate(entry.facts["prompts"])
        )
        return Prepared(
            latents=AV(**entry.tensors["latents"]),
            conditions=_conditions(entry.tensors["conditions"]),
            trainable=tuple(trainable),
            prompts=tuple(prompts),
            names=tuple(entry.facts["names"]),
            device=device,
        )
    except (RunError, KeyError, TypeError) as error:
        warn(f"{error}; these clips are prepared again")
        return None


def save_prepared(folder: Path, key: str, prepared: Prepared) -> None:
    """Save prepared clips under that key, in place of any other entry.

    Nothing is saved if a prompt has values that JSON can't represent. Raises RunError if the folder
    can't be written.
    """
    texts = [
        {**{field: getattr(prompt, field) for field in FIELDS}, "extra": prompt.extra}
        for prompt in prepared.prompts
    ]
    if not json_keeps(texts):
        return
    media = {
        f"{i}/{field}": getattr(prompt, field)
        for i, prompt in enumerate(prepared.prompts)
        for field in MEDIA
    }
    tensors = {
        "latents": {stream: prepared.latents[stream] for stream in prepared.latents},
        "conditions": dict(_tensors(prepared.conditions)),
        "prompts": {place: tensor for place, tensor in media.items() if tensor is not None},
    }
    facts = {"names": prepared.names, "prompts": texts}
    write_snapshot(folder / key, Snapshot(0, tensors, facts))
    for other in folder.iterdir():
        if other.name != key:
            shutil.rmtree(other, ignore_errors=True)


def _tensors(conditions: Mapping[str, Condition]) -> Iterable[tuple[str, Tensor]]:
    """name/tokens and name/mask, and name/null/tokens and name/null/mask of the null form."""
    for name, condition in conditions.items():
        yield f"{name}/tokens", condition.tokens
        yield f"{name}/mask", condition.mask
        if condition.null is not None:
            yield from _tensors({f"{name}/null": condition.null})


def _conditions(tensors: Mapping[str, Tensor]) -> dict[str, Condition]:
    def condition(name: str) -> Condition:
        null = condition(f"{name}/null") if f"{name}/null/tokens" in tensors else None
        return Condition(tensors[f"{name}/tokens"], tensors[f"{name}/mask"], null)

    names = (place.removesuffix("/tokens") for place in tensors if place.endswith("/tokens"))
    return {name: condition(name) for name in names if not name.endswith("/null")}
