"""From another project's checkpoint to a model folder."""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harmony_parts.assembly.read import RECIPE, read_recipe, shipped_recipes, write_recipe
from harmony_parts.convert.fresh import Fresh
from harmony_parts.convert.match import ConvertedTensors, match_tensors
from harmony_parts.convert.plan import ConversionPlan, Init, Layout, make_plan
from harmony_parts.convert.report import FATES, Report
from harmony_parts.errors import RunError, warn_caller
from harmony_parts.models.card import model_card
from harmony_parts.models.folder import CARD, SHARD, write_weights
from harmony_parts.models.tensor_files import tensor_bytes

RECIPES = {"ovi": "ovi", "wan": "wan-5b"}
"""The shipped recipe that a model gets, except for its sizes."""


def convert(
    layout: Layout,
    checkpoint: str | Path,
    out: str | Path,
    *,
    key: str | None = None,
    audio: str | Path | None = None,
    init: Init | None = None,
    configs: Sequence[str | Path] = (),
    recipe: str | Path | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    partial: Sequence[str] = (),
    dtype: torch.dtype | None = None,
    seed: int = 0,
    shard: int = SHARD,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Convert a checkpoint (a file or folder) in Ovi's or Wan's layout to the model folder `out`.

    Ovi becomes a `dual-branch` of `transformer` and `cross` with the interaction `global`; Wan a
    `video-only`. With `init` the result is a pair to be trained, with Ovi's audio tower (from the
    checkpoint `audio`, or the same one): "gldi" or "global" is the interaction, initialised to
    zero; "mmdit" is "gldi" with an `mmdit` audio branch, which takes the weights that fit it.

    Names lose the prefixes that training and packing code puts before all of them. `key` is that of
    the weights in a checkpoint that holds several state dicts, such as "ema"; by default the
    model's own are taken. The report's `notes` say what was chosen and left out.

    Sizes are read from the tensors and checked against `configs`, JSON files; everything else comes
    from `recipe` (a file, a table or a shipped recipe's name) with `overrides`. `partial`: patterns
    of tensors that may be initialised (our names) or unused (theirs). `dtype`: type of the weights;
    by default each keeps its own. Missing tensors are initialised from `seed`.

    One tensor is in memory at a time, and `out` is complete or absent. Raises RunError if the
    checkpoint can't be read, the tensors don't match, or `out` exists or can't be written, and
    AssemblyError if the recipe can't be built.
    """
    out = Path(out)
    if out.exists():
        raise RunError(f"{out}: already exists; name a new folder, or remove it")
    base = _table(recipe or RECIPES["wan" if layout == "wan" and init is None else "ovi"])
    plan = make_plan(
        layout,
        Path(checkpoint),
        base,
        audio=None if audio is None else Path(audio),
        init=init,
        configs=[Path(file) for file in configs],
        key=key,
    )
    read = read_recipe(plan.table, overrides)
    fresh = Fresh(read, seed)
    match = match_tensors(plan, fresh, partial, dtype)
    converted = ConvertedTensors(match, fresh, progress)
    with _new_folder(out, sum(map(tensor_bytes, match.shapes.values()))) as folder:
        write_weights(folder, match.shapes, converted, shard)
        text = write_recipe(read)
        (folder / RECIPE).write_text(text, encoding="utf-8")
        report = Report(match.records, tuple(converted.not_finite), plan.notes)
        (folder / CARD).write_text(
            model_card(read, text, match.shapes, _notes(plan, report, seed)), encoding="utf-8"
        )
    if report.not_finite:
        warn_caller(
            f"{len(report.not_finite)} tensors have NaN or infinite values, such as"
            f" {report.not_finite[0]}"
        )
    return report


@contextmanager
def _new_folder(out: Path, size: int) -> Iterator[Path]:
    """A temporary folder that becomes `out` at the end, for `size` bytes.

    Raises RunError if the disk is too full, or the folder can't be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(out.parent).free) < size:
            raise RunError(
                f"{out}: needs {size / 2**30:.1f} GiB, but the disk has {free / 2**30:.1f} GiB left"
            )
        with tempfile.TemporaryDirectory(
            prefix=f".{out.name}.", dir=out.parent, ignore_cleanup_errors=True
        ) as place:
            folder = Path(place, out.name)
            folder.mkdir()
            yield folder
            folder.rename(out)
    except OSError as error:
        raise RunError(f"{out}: the model can't be written: {error}") from error


def _table(recipe: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as a table, before its parts are looked up."""
    if isinstance(recipe, Mapping):
        return dict(recipe)
    shipped = shipped_recipes()
    file = (
        shipped[str(recipe)]
        if str(recipe) in shipped and not Path(recipe).is_file()
        else Path(recipe)
    )
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        read_recipe(str(recipe))  # raises, with the cause and the nearest name
        raise


def _notes(plan: ConversionPlan, report: Report, seed: int) -> list[str]:
    """Lines of the model card: the sources with their SHA-256 and licence, and the counts."""
    lines = []
    for source in plan.sources:
        files = [
            f"  - `{name}`, SHA-256 `{digest}`" for name, digest in source.weights.digests().items()
        ]
        lines += [f"- Converted from `{source.weights.path.name}`. {source.licence}", *files]
    lines += [f"- {note[0].upper()}{note[1:]}" for note in report.notes]
    lines.append("- The recipe's codecs and text encoders have their own licences")
    counts = {what: len(report.fates(what)) for what in FATES}
    lines.append(
        f"- Tensors: {counts['mapped']} converted, {counts['initialised']} initialised (seed"
        f" {seed}), {counts['unused']} of the source unused"
    )
    if report.fresh:
        parts = ", ".join(f"`{part}`" for part in report.fresh)
        lines.append(f"- Fresh, to be trained: {parts}")
    if report.not_finite:
        lines.append(f"- Not finite: {', '.join(report.not_finite[:8])}")
    return lines
