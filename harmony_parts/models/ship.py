"""A model's folder to share: half precision, a card, and what the model knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import torch
from torch import Tensor

from harmony_parts.assembly.read import RECIPE
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.data.protocol import HasTexts
from harmony_parts.errors import AssemblyError, RunError
from harmony_parts.media.files import replace_text
from harmony_parts.models.card import model_card
from harmony_parts.models.folder import CARD, find_model, recipe_file, save_model, weight_files
from harmony_parts.models.hub import locate_model
from harmony_parts.models.known import FILE, Texts, learn, read_known, write_known
from harmony_parts.models.saved_parts import recipe_with
from harmony_parts.models.saved_tensors import iter_tensors

CLIPS = 2000  # whose texts are read
SHOWN = 5  # texts of each field in the card
TRAINING = "- Training: "  # a line of cards, which is kept


def ship(
    model: str | Path,
    out: Path,
    *,
    name: str | None = None,
    dtype: torch.dtype = torch.float16,
    about: Iterable[str] = (),
    sections: Sequence[str] = (),
    data_root: Path | None = None,
) -> Path:
    """Write a trained model to the folder `out`, as `name` (by default the folder's).

    The weights are rounded to `dtype`; the codecs stay as they are, and so do the latents. `about`
    are lines of the card (commit, hardware, hours), `sections` Markdown at its end (scores, limits,
    faults). `data_root` is the folder of the recipe's data set, if that needs one: the words in its
    clips' texts are what the model knows.

    Raises RunError if there is no such model, a weight is beyond the range of `dtype`, or `out`
    has files or can't be written.
    """
    folder = find_model(locate_model(model))
    if out.is_dir() and any(out.iterdir()):
        raise RunError(f"{out}: already has files; name a new folder, or remove it")
    recipe = recipe_with(recipe_file(folder))
    recipe = attrs.evolve(recipe, name=out.resolve().name if name is None else name)
    state: dict[str, Tensor] = {}
    for file in weight_files(folder):  # the average of a checkpoint comes after its weights
        state |= dict(iter_tensors(file))
    rounded, error = _rounded(state, dtype, folder)
    known = learn(_texts(recipe, data_root)) or read_known(folder)
    notes = [
        *_training(folder),
        f"- Seeds: {recipe.train.seed} of the training,"
        f" {getattr(recipe.data, 'seed', 'none')} of the data set",
        f"- Weights: {str(dtype).removeprefix('torch.')}, at most {error:.1e} of a tensor's largest"
        " value from those that were trained",
        *(f"- {line}" for line in about),
    ]
    save_model(out, recipe, rounded)
    card = model_card(recipe, (out / RECIPE).read_text(encoding="utf-8"), rounded, notes)
    replace_text(out / CARD, "\n\n".join(map(str.strip, [card, *sections, *_known(known)])) + "\n")
    if known:
        write_known(out, known)
    else:
        (out / FILE).unlink(missing_ok=True)
    return out


def _rounded(
    state: Mapping[str, Tensor], dtype: torch.dtype, folder: Path
) -> tuple[dict[str, Tensor], float]:
    """The weights in `dtype`, and the greatest error relative to their tensor's largest value."""
    rounded, greatest = {}, 0.0
    for name, tensor in state.items():
        rounded[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        if not tensor.is_floating_point() or not tensor.any():
            continue
        exact, near = tensor.double(), rounded[name].double()
        error = float((near - exact).abs().max() / exact.abs().max())
        if not error < 1:  # an infinity in `dtype`, or in the model itself
            raise RunError(
                f"{folder}: {name} has values up to {float(exact.abs().max()):.3g}, which aren't"
                f" numbers of {dtype}; take another type, such as float32"
            )
        greatest = max(greatest, error)
    return rounded, greatest


def _texts(recipe: Recipe, root: Path | None) -> Iterator[Mapping[str, str | None]]:
    """The texts of the data set's first clips; none if it doesn't know them, or has no folder."""
    try:
        data = recipe.data.build(format=recipe.format, root=root)
    except AssemblyError:
        if root is not None:
            raise
        return
    if isinstance(data, HasTexts):
        yield from map(data.texts, range(min(len(data), CLIPS)))


def _training(folder: Path) -> list[str]:
    """The lines about training in the card of the model, if it has one."""
    card = folder / CARD
    lines = card.read_text(encoding="utf-8").splitlines() if card.is_file() else []
    return [line for line in lines if line.startswith(TRAINING)]


def _known(known: Mapping[str, Texts]) -> Iterator[str]:
    """The words that the model knows, as a section of its card."""
    if known:
        yield (
            "## What it knows\n\nThe words of its training clips. A prompt with others gets a"
            " warning with the nearest texts that it knows."
        )
    for name, texts in known.items():
        yield f"### {name.capitalize()}: {len(texts.words)} words"
        yield ", ".join(sorted(texts.words))
        yield "\n".join(["For example:\n", *(f"- {text}" for text in texts.examples[:SHOWN])])
