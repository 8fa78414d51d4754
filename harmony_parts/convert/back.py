"""Our model folder to their layout, bit for bit."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from torch import Tensor

from harmony_parts.assembly.read import RECIPE
from harmony_parts.convert.checkpoint import Checkpoint
from harmony_parts.convert.layouts import LAYOUTS, Rule
from harmony_parts.errors import RunError
from harmony_parts.media.files import replace
from harmony_parts.models.folder import INDEX, WEIGHTS, find_model
from harmony_parts.models.tensor_files import write_tensors

Target = Literal["ovi", "wan", "wan-diffusers"]


def convert_back(
    layout: Target, model: str | Path, out: str | Path, *, partial: Sequence[str] = ()
) -> int:
    """Write the denoiser of a model or run folder as one safetensors file in the layout of Ovi,
    Wan, or Wan as diffusers names it.

    `partial`: patterns of our names that are left out, as the audio branch is for Wan's layout.
    Returns how many tensors were written. Raises RunError for a model that isn't of that layout, a
    file that is there already, or one that can't be written.
    """
    out, folder = Path(out), find_model(Path(model))
    if out.exists():
        raise RunError(f"{out}: is there already; name a file that isn't, or remove it")
    saved = Checkpoint(folder / (WEIGHTS if (folder / WEIGHTS).is_file() else INDEX))
    denoiser = tomllib.loads((folder / RECIPE).read_text(encoding="utf-8"))["denoiser"]
    # without a video branch it isn't of the layout, which is told below
    patch = int(denoiser.get("video", {}).get("patch", 1))
    names: dict[str, tuple[str, Rule]] = {}
    strange: list[str] = []
    for ours in saved.described:
        place, _, bare = ours.partition(".")
        if place != "denoiser" or any(fnmatchcase(ours, pattern) for pattern in partial):
            continue
        found = next(
            (
                (name, rule)
                for rule in LAYOUTS[layout]
                if (name := rule.to_theirs(bare)) is not None
            ),
            None,
        )
        if found is None:
            strange.append(ours)
        else:
            names[found[0]] = (ours, found[1])
    absent = [
        rule.theirs
        for rule in LAYOUTS[layout]
        if not any(rule is used for _, used in names.values())
    ]
    if strange or absent:
        cause = (
            f"has {len(strange)} tensors that it has no place for, such as {strange[0]}"
            if strange
            else f"lacks {absent[0]}"
        )
        cure = "; leave them out by --partial (in Python: partial)" if strange else ""
        raise RunError(f"{folder}: the model isn't of the layout {layout}: it {cause}{cure}")

    def theirs(name: str, numbers: Tensor) -> Tensor:
        return names[name][1].shape_back(numbers, patch)

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        described = {name: theirs(name, saved.described[ours]) for name, (ours, _) in names.items()}
        replace(
            out,
            lambda path: write_tensors(
                path, described, lambda name: theirs(name, saved[names[name][0]])
            ),
        )
    except OSError as error:
        raise RunError(f"{out}: can't be written: {error}") from error
    return len(names)
