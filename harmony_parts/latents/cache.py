"""Prepared clips on disk, so that a run that goes on needn't encode them again. An entry is found
by everything that went into it.

Its key covers the recipe's format, codecs, encoders, data and seed; the content of each example
that was chosen (`Dataset.fingerprint`); the weights of frozen encoders and codecs; the source code
of this library and of the packages that the parts come from; the version of every installed
package; device and number of threads. Whatever of that changes, the entry isn't found, and another
takes its place: none is stale.
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


def key(
    recipe: Recipe, dataset: Any, chosen: Sequence[int], parts: Iterable[Any], device: torch.device
) -> str | None:
    """The name of what these parts make of the examples `chosen`; `None` where something in it
    can't be told from its like.
    """
    code = _code([type(part) for part in (*parts, dataset)])
    if not isinstance(dataset, HasFingerprints) or code is None:
        return None
    try:
        examples = [dataset.fingerprint(number) for number in chosen]
    except OSError:
        return None  # reading it will say what is wrong
    table = tomllib.loads(write_recipe(recipe))
    packages = sorted({f"{d.name}=={d.version}" for d in importlib.metadata.distributions()})
    facts: dict[str, Any] = {
        "recipe": (
            [table.get(name) for name in ("format", "codecs", "encoders", "data")]
            + [recipe.train.seed]
        ),
        "examples": examples,
        "weights": [_weights(part) for part in parts],
        "code": code,
        "packages": [*packages, os.environ.get("IMAGEIO_FFMPEG_EXE", "")],
        "machine": [sys.version, device.type, torch.get_num_threads()],
    }
    return hashlib.sha256(
        json.dumps(facts, sort_keys=True, default=str).encode("utf-8", "surrogateescape")
    ).hexdigest()[:32]


def load(
    folder: Path,
    name: str,
    trained: Sequence[nn.Module],
    device: torch.device,
    warn: Callable[[str], None],
) -> Prepared | None:
    """The entry of that name; `None` where there is none. A damaged one is told to `warn`, and
    passed over.
    """
    if not (folder / name).is_dir():
        return None
    try:
        found = load_snapshot(folder / name)
        texts = found.facts["prompts"]
        held = found.tensors["prompts"]
        prompts = (
            Prompt(**said, image=held.get(f"{i}/image"), voice=held.get(f"{i}/voice"))
            for i, said in enumerate(texts)
        )
        return Prepared(
            latents=AV(**found.tensors["latents"]),
            frozen=_conditions(found.tensors["conditions"]),
            trained=tuple(trained),
            prompts=tuple(prompts),
            names=tuple(found.facts["names"]),
            device=device,
        )
    except (RunError, KeyError, TypeError) as error:
        warn(f"{error}; these prepared clips are made anew")
        return None


def save(folder: Path, name: str, prepared: Prepared) -> None:
    """Keep them under that name, in place of any others. Prompts with something that JSON doesn't
    know aren't kept. Raises RunError.
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
    held = {
        f"{i}/{field}": getattr(prompt, field)
        for i, prompt in enumerate(prepared.prompts)
        for field in ("image", "voice")
    }
    tensors = {
        "latents": {stream: prepared.latents[stream] for stream in prepared.latents},
        "conditions": dict(_tensors(prepared.frozen)),
        "prompts": {place: tensor for place, tensor in held.items() if tensor is not None},
    }
    write_snapshot(
        folder / name,
        Snapshot(0, tensors, {"names": prepared.names, "prompts": texts}),
    )
    for other in folder.iterdir():
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)


def _tensors(conditions: Mapping[str, Condition]) -> Iterable[tuple[str, Tensor]]:
    """name/tokens, name/mask, and the same of each null form: name/null/tokens."""
    for name, condition in conditions.items():
        yield f"{name}/tokens", condition.tokens
        yield f"{name}/mask", condition.mask
        if condition.null is not None:
            yield from _tensors({f"{name}/null": condition.null})


def _conditions(tensors: Mapping[str, Tensor]) -> dict[str, Condition]:
    def made(name: str) -> Condition:
        null = made(f"{name}/null") if f"{name}/null/tokens" in tensors else None
        return Condition(tensors[f"{name}/tokens"], tensors[f"{name}/mask"], null)

    names = (place.removesuffix("/tokens") for place in tensors if place.endswith("/tokens"))
    return {name: made(name) for name in names if not name.endswith("/null")}


def _weights(part: Any) -> str:
    """A digest of a part's weights and buffers, those of the modules that it holds among them."""
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


def _code(classes: Iterable[type]) -> str | None:
    """A digest of the source of this library and of the packages that the classes come from; `None`
    where one has no file.
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
