"""Saved models: a folder with `recipe.toml`, `model.safetensors` and a card, `README.md`."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harmony_parts.errors import RunError

if TYPE_CHECKING:
    from harmony_parts.assemble import Parts
    from harmony_parts.recipe import Recipe

RECIPE, WEIGHTS, CARD = "recipe.toml", "model.safetensors", "README.md"
SHOWN = 8  # names in an error, of each sort


def weights(parts: Parts) -> nn.ModuleDict:
    """All modules that hold weights of a model: its denoiser and its encoders. What a training run moves, trains and saves."""
    encoders: dict[str, Any] = dict(parts.encoders)
    denoiser: Any = parts.denoiser
    return nn.ModuleDict({"denoiser": denoiser, "encoders": nn.ModuleDict(encoders)})


def find_model(folder: Path) -> Path:
    """The model folder that `folder` is, or that the run in it made. Raises RunError where there is none."""
    folder = Path(folder)
    for place in (folder, folder / "model"):
        if (place / RECIPE).is_file() and (place / WEIGHTS).is_file():
            return place
    if not folder.is_dir():
        cause = "no such folder"
    elif (folder / "checkpoints").is_dir():
        cause = f"a run that isn't finished (no {WEIGHTS} in its folder `model`); resume it first"
    else:
        cause = f"neither a model (a folder with {RECIPE} and {WEIGHTS}) nor a run with a folder `model`"
    raise RunError(f"{folder}: {cause}")


def save_model(folder: Path, recipe: Recipe, state: Mapping[str, Tensor], *, note: str = "") -> Path:
    """Write recipe, weights and a card into `folder`; each file appears whole or not at all.

    `note` says in the card how the weights came about. Raises RunError where the folder can't be written.
    """
    from harmony_parts.assemble import write_recipe

    folder, text = Path(folder), write_recipe(recipe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / WEIGHTS, lambda path: save_tensors(path, state))
        replace(folder / CARD, lambda path: path.write_text(_card(recipe, text, state, note), encoding="utf-8"))
        replace(folder / RECIPE, lambda path: path.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{folder}: the model can't be written: {error}") from error
    return folder


def load_weights(parts: Parts, folder: Path) -> None:
    """Copy the weights in a model or run folder into `parts`. Raises RunError, naming each tensor, where they are of another model."""
    path = find_model(folder) / WEIGHTS
    module = weights(parts)
    saved, wanted = load_tensors(path), module.state_dict()
    misshaped = [
        f"{name} (there {list(saved[name].shape)}, here {list(wanted[name].shape)})"
        for name in wanted
        if name in saved and saved[name].shape != wanted[name].shape
    ]
    faults = [
        *_named("missing", wanted.keys() - saved.keys()),
        *_named("not in this model", saved.keys() - wanted.keys()),
        *_named("of another shape", misshaped),
    ]
    if faults:
        raise RunError(f"{path}: these are weights of another model; assemble it by the {RECIPE} beside them\n" + "\n".join(faults))
    module.load_state_dict(saved)


def _named(what: str, names: Iterable[str]) -> list[str]:
    listed = sorted(names)
    more = f", and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return [f"  {what}: {', '.join(listed[:SHOWN])}{more}"] if listed else []


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, on the disk when this returns. Tensors that share memory (tied weights) are written apart."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    path.touch()
    mode = path.stat().st_mode  # safetensors makes files that only their owner may read, whatever the umask
    save_file(apart, path)
    path.chmod(mode)
    flush(path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises RunError where it can't be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: can't be read: {error}") from error


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in the place of `path`, which is at no time half written."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        part = Path(folder, path.name)
        write(part)
        os.replace(part, path)


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _card(recipe: Recipe, text: str, state: Mapping[str, Tensor], note: str) -> str:
    """The model card. Parameters are counted as they are saved, those of the encoders with those of the denoiser."""
    data = tomllib.loads(text).get("data", {})
    settings = ", ".join(f"{name} = {value!r}" for name, value in data.items() if name != "use")
    form = recipe.format
    size = f"{float(form.fps):g} frames a second of {form.height} x {form.width} pixels (height x width), sound at {form.sample_rate} Hz"
    lines = [
        f"# {recipe.name}",
        "",
        *([recipe.summary, ""] if recipe.summary else []),
        f"- Parameters: {sum(tensor.numel() for tensor in state.values()):,}",
        f"- Makes: {form.seconds:g} s, {size}",
        f"- Data of its recipe: {data.get('use', 'none named')}" + (f" ({settings})" if settings else ""),
        *([f"- Training: {note}"] if note else []),
        f"- Everything else: {RECIPE} in this folder",
    ]
    return "\n".join(lines) + "\n"
