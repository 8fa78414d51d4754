"""From a model folder back to another project's layout, bit for bit."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from torch import Tensor

from harmony_parts.assembly.read import RECIPE
from harmony_parts.convert.foreign_weights import ForeignWeights
from harmony_parts.convert.layouts import LAYOUTS, Rule
from harmony_parts.errors import RunError
from harmony_parts.media.files import replace
from harmony_parts.models.folder import INDEX, WEIGHTS, find_model
from harmony_parts.models.tensor_files import write_tensors

Target = Literal["ovi", "wan", "wan-diffusers"]


def convert_back(
    layout: Target, model: str | Path, out: str | Path, *, partial: Sequence[str] = ()
) -> int:
    """Write the denoiser of a model or run folder as one safetensors file in another layout.

    `layout`: Ovi's, Wan's, or Wan's as diffusers names it. `partial`: patterns of our tensors to
    leave out, such as the audio branch for Wan's layout. Returns the number of tensors written.
    Raises RunError if the model doesn't fit the layout, or `out` exists or can't be written.
    """
    out, folder = Path(out), find_model(Path(model))
    if out.exists():
        raise RunError(f"{out}: already exists; name a new file, or remove it")
    if not (folder / RECIPE).is_file():
        raise RunError(f"{folder}: is a checkpoint; convert the model of the finished run")
    saved = ForeignWeights(folder / (WEIGHTS if (folder / WEIGHTS).is_file() else INDEX))
    names = _their_names(layout, saved, folder, partial)
    denoiser = tomllib.loads((folder / RECIPE).read_text(encoding="utf-8"))["denoiser"]
    patch = int(denoiser["video"].get("patch", 1))

    def in_their_shape(name: str, tensor: Tensor) -> Tensor:
        return names[name][1].shape_back(tensor, patch)

    templates = {
        name: in_their_shape(name, saved.shapes[ours]) for name, (ours, _) in names.items()
    }

    def write(path: Path) -> None:
        write_tensors(path, templates, lambda name: in_their_shape(name, saved[names[name][0]]))

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace(out, write)
    except OSError as error:
        raise RunError(f"{out}: can't be written: {error}") from error
    return len(names)


def _their_names(
    layout: Target, saved: ForeignWeights, folder: Path, partial: Sequence[str]
) -> dict[str, tuple[str, Rule]]:
    """Their name -> (our name, rule) of every tensor of the denoiser that isn't left out.

    Raises RunError if the layout lacks one of our tensors, or we lack one of the layout's.
    """
    names: dict[str, tuple[str, Rule]] = {}
    unknown: list[str] = []
    for ours in saved.shapes:
        part, _, name = ours.partition(".")
        if part != "denoiser" or any(fnmatchcase(ours, pattern) for pattern in partial):
            continue
        for rule in LAYOUTS[layout]:
            if (theirs := rule.to_theirs(name)) is not None:
                names[theirs] = (ours, rule)
                break
        else:
            unknown.append(ours)
    used = [rule for _, rule in names.values()]
    absent = [rule.theirs for rule in LAYOUTS[layout] if not any(rule is other for other in used)]
    if unknown:
        raise RunError(
            f"{folder}: the model doesn't fit the layout {layout}: {len(unknown)} tensors have no"
            f" counterpart in it, such as {unknown[0]}; leave them out with --partial (in Python:"
            " partial)"
        )
    if absent:
        raise RunError(
            f"{folder}: the model doesn't fit the layout {layout}: it has no tensor for {absent[0]}"
        )
    return names
