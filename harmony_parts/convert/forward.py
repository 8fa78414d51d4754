"""Their checkpoint to our model folder."""

from __future__ import annotations

import shutil
import tempfile
import tomllib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.assembly.read import RECIPE, read_recipe, shipped_recipes, write_recipe
from harmony_parts.convert import report as fate
from harmony_parts.convert.fresh import Fresh
from harmony_parts.convert.layouts import Rule
from harmony_parts.convert.plan import Init, Layout, Plan, Source, plan
from harmony_parts.convert.report import FATES, Entry, Report
from harmony_parts.errors import RunError, nearest
from harmony_parts.models.card import model_card
from harmony_parts.models.folder import CARD, SHARD, write_weights
from harmony_parts.models.tensor_files import tensor_bytes

RECIPES = {"ovi": "ovi", "wan": "wan-5b"}
"""Which recipe that ships a model gets, but for its sizes."""


def convert(
    layout: Layout,
    checkpoint: str | Path,
    out: str | Path,
    *,
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
    """Make the model folder `out` of a checkpoint in the layout of Ovi or Wan: a file, or a folder
    of shards.

    Ovi becomes a `dual-branch` of `transformer` and `cross` with the interaction `global`; Wan a
    `video-only`. With `init` it becomes a pair to be trained, with Ovi's audio tower (of the
    checkpoint `audio`, or its own): "gldi" or "global" name the interaction, which starts fresh, at
    zero; "mmdit" is "gldi" with the audio branch made an `mmdit` of what it can take.

    Sizes are read from the tensors and checked against `configs`, their JSON files; all else comes
    from `recipe` (a file, a table, the name of one that ships) with `overrides`. `partial`:
    patterns of tensors that may be initialised (our names) or unused (theirs). `dtype`: of the
    weights; by default each keeps its own. Fresh tensors come from `seed`. One tensor is in memory
    at a time, and `out` appears whole or not at all. Raises RunError for a checkpoint, a mismatch
    or a folder that can't be written, AssemblyError for the recipe.
    """
    out = Path(out)
    if out.exists():
        raise RunError(f"{out}: is there already; name a folder that isn't, or remove it")
    base = _table(recipe or RECIPES["wan" if layout == "wan" and init is None else "ovi"])
    planned = plan(
        layout,
        Path(checkpoint),
        base,
        audio=None if audio is None else Path(audio),
        init=init,
        configs=[Path(file) for file in configs],
    )
    read = read_recipe(planned.table, overrides)
    fresh = Fresh(read, seed)
    work = _matched(planned, fresh, partial, dtype)
    numbers = _Numbers(work, fresh, progress)
    with _whole(out, sum(map(tensor_bytes, work.described.values()))) as folder:
        write_weights(folder, work.described, numbers, shard)
        text = write_recipe(read)
        (folder / RECIPE).write_text(text, encoding="utf-8")
        made = Report(work.entries, tuple(numbers.not_finite))
        (folder / CARD).write_text(
            model_card(read, text, work.described, _notes(planned, made, seed)), encoding="utf-8"
        )
    if made.not_finite:
        warnings.warn(
            f"{len(made.not_finite)} tensors hold numbers that aren't finite, such as"
            f" {made.not_finite[0]}",
            stacklevel=2,
        )
    return made


# --- which tensor is which ------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Work:
    """What is written: our tensors without numbers, where those come from that a checkpoint has,
    and what is told about all.
    """

    described: dict[str, Tensor]
    taken: dict[str, tuple[Source, str, Rule]]
    entries: tuple[Entry, ...]


def _matched(
    planned: Plan, fresh: Fresh, partial: Sequence[str], dtype: torch.dtype | None
) -> Work:
    """Raises RunError for tensors that are missing, too many or of another shape, unless somebody
    expects it.
    """
    names = [
        *fresh.wanted,
        *(theirs for source in planned.sources for theirs in source.checkpoint.described),
    ]
    for pattern in partial:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise RunError(
                f"--partial {pattern!r} names no tensor of the model or the"
                f" checkpoint{nearest(pattern, names)}"
            )
    taken: dict[str, tuple[Source, str, Rule]] = {}
    unused, faults, described = [], [], {}
    for source in planned.sources:
        ours = {theirs: (f"denoiser.{ours}", rule) for theirs, ours, rule in source.taken()}
        for theirs, their in source.checkpoint.described.items():
            name, rule = ours.get(theirs, ("", None))
            wanted = fresh.wanted.get(name)
            if rule is not None and wanted is not None:
                shaped = rule.shape(their)
                if shaped.shape == wanted.shape:
                    taken[name] = (source, theirs, rule)
                    described[name] = shaped.to(dtype or their.dtype)
                    continue
                if not _any(name, partial):
                    faults.append(
                        f"{name} is {list(wanted.shape)} in the recipe's model, and {theirs}"
                        f" {list(shaped.shape)}"
                    )
                    continue
            unused.append(fate.unused(theirs, their, source.checkpoint.path.name))
            if wanted is None and not _any(theirs, (*source.unused, *partial)):
                faults.append(f"{theirs} {list(their.shape)} has no place in the recipe's model")
    usual = dtype or Counter(tensor.dtype for tensor in described.values()).most_common(1)[0][0]
    expected = (*planned.fresh, *_of_further_conditions(fresh), "encoders.*", *partial)
    initialised = []
    told = {fault.partition(" ")[0] for fault in faults}
    for name, wanted in fresh.wanted.items():
        if name not in taken:
            described[name] = wanted.to(usual) if wanted.is_floating_point() else wanted
            initialised.append(fate.initialised(name, described[name]))
            if not _any(name, expected) and name not in told:
                faults.append(f"{name} {list(wanted.shape)} isn't in the checkpoint")
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:12]) + (
            f"\n  and {len(faults) - 12} more" if len(faults) > 12 else ""
        )
        raise RunError(
            f"the checkpoint and the recipe's model don't match in {len(faults)} tensors; name"
            " those that may start fresh or be left out by --partial (in Python: partial), or take"
            f" a recipe with other codecs and encoders by --recipe:\n{shown}"
        )
    mapped = [
        fate.mapped(
            name,
            theirs,
            described[name],
            source.checkpoint.described[theirs],
            source.checkpoint.path.name,
        )
        for name, (source, theirs, _) in taken.items()
    ]
    order = {name: described[name] for name in fresh.wanted}
    return Work(order, taken, (*mapped, *initialised, *unused))


def _of_further_conditions(fresh: Fresh) -> list[str]:
    """Patterns of what a branch has for conditions that no checkpoint knows, in recipes that have
    more than Wan and Ovi.
    """
    further = [name for name in fresh.parts.denoiser.accepts if name not in ("caption", "sound")]
    return [
        "denoiser.branches.*.listener.groups.*",
        *(f"denoiser.branches.*.listener.projections.{name}.*" for name in further),
    ]


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class _Numbers:
    """The tensor of a name of ours, from the checkpoint or fresh; notes those that aren't
    finite.
    """

    def __init__(
        self, work: Work, fresh: Fresh, progress: Callable[[int, int], None] | None
    ) -> None:
        self.work, self.fresh, self.progress, self.done = work, fresh, progress, 0
        self.not_finite: list[str] = []

    def __call__(self, name: str) -> Tensor:
        dtype = self.work.described[name].dtype
        if name in self.work.taken:
            source, theirs, rule = self.work.taken[name]
            tensor = rule.shape(source.checkpoint[theirs]).to(dtype)
        else:
            tensor = self.fresh[name].to(dtype)
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            self.not_finite.append(name)
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, len(self.work.described))
        return tensor


# --- the folder -----------------------------------------------------------------------------------


@contextmanager
def _whole(out: Path, needed: int) -> Iterator[Path]:
    """A folder that becomes `out` when all has been written into it. Raises RunError where there is
    no room, or it can't be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(out.parent).free) < needed:
            raise RunError(
                f"{out}: takes {needed / 2**30:.1f} GiB, and the disk has {free / 2**30:.1f} GiB"
                " left"
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
    """A recipe as it is written, before parts are looked for."""
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
        read_recipe(str(recipe))  # says what is wrong with it, and which name was meant
        raise


def _notes(planned: Plan, made: Report, seed: int) -> list[str]:
    """Lines of the card: where the weights are from, whole, and under which licence."""
    lines = []
    for source in planned.sources:
        files = [
            f"  - `{name}`, SHA-256 `{digest}`"
            for name, digest in source.checkpoint.digests().items()
        ]
        lines += [f"- Converted from `{source.checkpoint.path.name}`. {source.licence}", *files]
    lines.append("- Codecs and text encoders that the recipe names have licences of their own")
    counts = {what: len(made.fates(what)) for what in FATES}
    lines.append(
        f"- Tensors: {counts['mapped']} taken, {counts['initialised']} fresh (seed {seed}),"
        f" {counts['unused']} of the source without a place here"
    )
    if made.fresh:
        lines.append(f"- Fresh, and to be trained: {', '.join(f'`{part}`' for part in made.fresh)}")
    if made.not_finite:
        lines.append(f"- Not finite: {', '.join(made.not_finite[:8])}")
    return lines
