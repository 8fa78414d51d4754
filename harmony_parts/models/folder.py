"""Saved models: a folder with `recipe.toml`, the weights, and a model card, `README.md`.

The weights are `model.safetensors` or, beyond 4 GiB, shards of at most that size with an index, as
on the Hugging Face Hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harmony_parts.assembly.read import RECIPE
from harmony_parts.errors import RunError
from harmony_parts.media.files import cause_on_disk, replace, replace_text
from harmony_parts.models.card import model_card
from harmony_parts.models.saved_tensors import iter_tensors, meta_tensors
from harmony_parts.models.snapshot import STATE, group_place
from harmony_parts.models.tensor_files import indexed_shards, tensor_bytes, write_tensors

if TYPE_CHECKING:
    from harmony_parts.assembly.build import Parts
    from harmony_parts.assembly.recipe import Recipe

WEIGHTS, CARD = "model.safetensors", "README.md"
INDEX, SHARDS = f"{WEIGHTS}.index.json", re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
SHARD = 4 * 2**30  # bytes
SHOWN = 8  # names in an error, per kind of fault
# groups of a checkpoint, as `train.checkpoint` writes it: the second replaces tensors of the first
CHECKPOINT = ("weights", "ema")


def saved_modules(parts: Parts) -> nn.ModuleDict:
    """The modules that own a model's weights: what a saved model stores.

    The names of its `state_dict()` are those in the files: `denoiser.*` and `encoders.NAME.*`.
    """
    encoders: dict[str, Any] = dict(parts.encoders)
    denoiser: Any = parts.denoiser
    return nn.ModuleDict({"denoiser": denoiser, "encoders": nn.ModuleDict(encoders)})


def find_model(folder: Path) -> Path:
    """`folder` itself, if it is a model folder or a checkpoint, or the model in a run folder.

    Raises RunError if there is none.
    """
    folder = Path(folder)
    for place in (folder, folder / "model"):
        if (place / RECIPE).is_file() and any(
            (place / name).is_file() for name in (WEIGHTS, INDEX)
        ):
            return place
    if _is_checkpoint(folder) and recipe_file(folder).is_file():
        return folder
    if folder.is_file():
        cause = "is a file; name the model folder that contains it"
    elif not folder.is_dir():
        cause = "no such folder"
    elif (folder / "lora").is_dir():
        cause = (
            "has adapters, and no model: name the model that they were trained on, with --lora"
            f" {folder} (in Python: lora=)"
        )
    elif (folder / "checkpoints").is_dir():
        cause = (
            f"an unfinished run (no {WEIGHTS} in its folder `model`); resume it first, or name one"
            " of its checkpoints"
        )
    else:
        cause = (
            f"neither a model (a folder with {RECIPE} and {WEIGHTS}) nor a run with a folder"
            " `model`"
        )
    raise RunError(f"{folder}: {cause}")


def recipe_file(model: Path) -> Path:
    """The recipe of a model folder; that of a checkpoint RUN/checkpoints/NAME is in RUN."""
    return (model.absolute().parents[1] if _is_checkpoint(model) else model) / RECIPE


def _is_checkpoint(folder: Path) -> bool:
    return (folder / STATE).is_file() and group_place(folder, CHECKPOINT[0]).exists()


def save_model(
    folder: Path, recipe: Recipe, state: Mapping[str, Tensor], *, note: str = "", shard: int = SHARD
) -> Path:
    """Write recipe, weights and model card into `folder`; each file is complete or absent.

    The weights of learned codecs, which aren't in `state`, are copied beside them, and the recipe
    names the copies: the folder can be moved.

    `note` tells in the card how the weights were trained. A file of weights has at most `shard`
    bytes. Raises RunError if the folder can't be written.
    """
    from harmony_parts.assembly.read import write_recipe
    from harmony_parts.models.codec_files import copy_codec_files

    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(folder, state, state.__getitem__, shard)
        text = write_recipe(copy_codec_files(recipe, folder))
        about = model_card(recipe, text, state, [f"- Training: {note}"] if note else [])
        replace_text(folder / CARD, about)
        replace_text(folder / RECIPE, text)
    except OSError as error:
        cause = cause_on_disk(error, folder)
        raise RunError(f"{folder}: the model can't be written: {cause}") from error
    return folder


def load_weights(
    parts: Parts,
    folder: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """Load the weights of a model, a run folder or a checkpoint into `parts`, file by file.

    Modules on the meta device (see `build`) get the loaded tensors themselves, on `device`, in
    `dtype` or else their own type, so the model is in memory only once; other modules get copies.
    Without `dtype`, float16 becomes float32, exactly: it is a form to store weights in.
    Raises RunError, naming each tensor, if the weights are of another model.
    """
    files = weight_files(find_model(folder))
    module = saved_modules(parts)
    expected = module.state_dict()
    _check_tensors(files, expected)
    for file in files:
        state = dict(iter_tensors(file))
        empty = {
            name: _converted(state.pop(name), device, dtype)
            for name in [*state]
            if expected[name].is_meta
        }
        module.load_state_dict(empty, strict=False, assign=True)
        module.load_state_dict(state, strict=False)


def _check_tensors(files: Sequence[Path], expected: Mapping[str, Tensor]) -> None:
    """Raise RunError if the files don't have exactly the expected names, shapes and types."""
    saved: dict[str, Tensor] = {}
    for file in files:
        saved |= meta_tensors(file)
    both = [name for name in expected if name in saved]
    misshaped = [
        f"{name} (file: {list(saved[name].shape)}, model: {list(expected[name].shape)})"
        for name in both
        if saved[name].shape != expected[name].shape
    ]
    mistyped = [
        f"{name} (file: {saved[name].dtype}, model: {expected[name].dtype})"
        for name in both
        if saved[name].is_floating_point() != expected[name].is_floating_point()
    ]
    faults = [
        *_named("missing", expected.keys() - saved.keys()),
        *_named("not in this model", saved.keys() - expected.keys()),
        *_named("of another shape", misshaped),
        *_named("of another type", mistyped),
    ]
    if faults:
        raise RunError(
            f"{files[0]}: these are weights of another model; assemble it with the {RECIPE} beside"
            " them\n" + "\n".join(faults)
        )


def _converted(tensor: Tensor, device: str | torch.device, dtype: torch.dtype | None) -> Tensor:
    stored = torch.float32 if tensor.dtype == torch.float16 else None
    return tensor.to(device, (dtype or stored) if tensor.is_floating_point() else None)


def _named(what: str, names: Iterable[str]) -> list[str]:
    listed = sorted(names)
    more = f", and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return [f"  {what}: {', '.join(listed[:SHOWN])}{more}"] if listed else []


# --- files of weights -----------------------------------------------------------------------------


def weight_files(folder: Path) -> list[Path]:
    """The files of weights in a model folder or a checkpoint, later ones in place of earlier ones.

    Those of a checkpoint are the weights, then their average: folders, if several processes wrote
    it. Raises RunError if an indexed shard is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if _is_checkpoint(folder):
        places = [group_place(folder, name) for name in CHECKPOINT]
        return [place for place in places if place.exists()]
    return indexed_shards(folder / INDEX)


def write_weights(
    folder: Path, templates: Mapping[str, Tensor], get: Callable[[str], Tensor], shard: int = SHARD
) -> None:
    """Write tensors, one in memory at a time, into files of at most `shard` bytes each.

    `templates` have the shapes and types, and may be on the meta device; `get` returns the tensor
    of a name, and is called in the order of the files. Older files of weights are removed.
    """
    groups = list(_shards(templates, shard))
    files = (
        [WEIGHTS]
        if len(groups) == 1
        else [f"model-{n:05}-of-{len(groups):05}.safetensors" for n in range(1, len(groups) + 1)]
    )
    for file, names in zip(files, groups):
        group = {name: templates[name] for name in names}
        replace(folder / file, partial(write_tensors, templates=group, get=get))
    if len(groups) > 1:
        index = {
            "metadata": {"total_size": sum(map(tensor_bytes, templates.values()))},
            "weight_map": {name: file for file, names in zip(files, groups) for name in names},
        }
        replace_text(folder / INDEX, json.dumps(index, indent=1))
        files.append(INDEX)
    for old in folder.iterdir():
        if old.name not in files and (old.name in (WEIGHTS, INDEX) or SHARDS.fullmatch(old.name)):
            old.unlink()


def _shards(templates: Mapping[str, Tensor], limit: int) -> Iterator[list[str]]:
    """The names, grouped in order into shards of at most `limit` bytes; a larger one is alone."""
    names: list[str] = []
    room = limit
    for name, tensor in templates.items():
        if names and tensor_bytes(tensor) > room:
            yield names
            names, room = [], limit
        names.append(name)
        room -= tensor_bytes(tensor)
    yield names
