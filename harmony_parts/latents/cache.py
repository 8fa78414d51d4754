"""A cache of prepared clips on disk, so that a resumed run needn't encode them again.

An entry's key covers everything that the clips depend on: the recipe's format, codecs, encoders,
data and seed; the content of each chosen example (`HasFingerprints`); the weights of frozen
encoders and codecs; the source code of this library and of the packages that the parts come from;
the version of every installed package; the device and the number of threads. If any of that
changes, the key does, and a new entry replaces the old one: no entry is ever stale.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harmony_parts.assembly.read import write_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV, Condition, Prompt
from harmony_parts.data.protocol import HasFingerprints
from harmony_parts.errors import RunError
from harmony_parts.latents.sources import Prepared
from harmony_parts.models.offload import part_modules
from harmony_parts.models.snapshot import Snapshot, load_snapshot, write_snapshot

FOLDER = "prepared"  # in the run folder
TEXTS = ("caption", "sound", "speech")


def cache_key(
    recipe: Recipe, dataset: Any, chosen: Sequence[int], parts: Iterable[Any], device: torch.device
) -> str | None:
    """The key of the `chosen` examples as `parts` (frozen encoders and codecs) encode them.

    `None` if something that they depend on can't be identified: then they aren't cached.
    """
    code = _code_digest([type(part) for part in (*parts, dataset)])
    if not isinstance(dataset, HasFingerprints) or code is None:
        return None
    try:
        examples = [dataset.fingerprint(number) for number in chosen]
    except OSError:
        return None  # reading the example will report the cause
    table = tomllib.loads(write_recipe(recipe))
    packages = sorted({f"{d.name}=={d.version}" for d in importlib.metadata.distributions()})
    facts: dict[str, Any] = {
        "recipe": (
            [table.get(name) for name in ("format", "codecs", "encoders", "data")]
            + [recipe.train.seed]
        ),
        "examples": examples,
        "weights": [_weights_digest(part) for part in parts],
        "code": code,
        "packages": [*packages, os.environ.get("IMAGEIO_FFMPEG_EXE", "")],
        "machine": [sys.version, device.type, torch.get_num_threads()],
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
        {**{field: getattr(prompt, field) for field in TEXTS}, "extra": prompt.extra}
        for prompt in prepared.prompts
    ]
    try:
        if json.loads(json.dumps(texts)) != texts:
            return
    except (TypeError, ValueError):
        return
    media = {
        f"{i}/{field}": getattr(prompt, field)
        for i, prompt in enumerate(prepared.prompts)
        for field in ("image", "voice")
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


def _weights_digest(part: Any) -> str:
    """A digest of a part's weights and buffers, with those of its external modules."""
    digest = hashlib.sha256()
    for name, tensor in (
        entry for module in part_modules(part) for entry in module.state_dict().items()
    ):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(
            tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
            if tensor.numel()
            else b""
        )
    return digest.hexdigest()


def _code_digest(classes: Iterable[type]) -> str | None:
    """A digest of the source of this library and of the classes' packages.

    `None` if one has no file.
    """
    digest = hashlib.sha256()
    for name in sorted({"harmony_parts", *(cls.__module__.partition(".")[0] for cls in classes)}):
        file = getattr(sys.modules[name], "__file__", None)
        if not file:
            return None
        sources = (
            sorted(Path(file).parent.rglob("*.py"))
            if Path(file).name == "__init__.py"
            else [Path(file)]
        )
        for source in sources:
            digest.update(str(source).encode("utf-8", "surrogateescape") + source.read_bytes())
    return digest.hexdigest()
