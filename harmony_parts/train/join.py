"""Join saved models: each brings a branch, and the encoders whose conditions enter by it.

So a model of sound and a model of video become the two branches of one (the third stage of the
paper's curriculum begins like this). All of this is by name: a branch has the same tensors alone
and in a pair; an encoder is recognised by its conditions, whatever the recipe calls it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.read import read_recipe, write_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import RunError
from harmony_parts.models.folder import find_model, recipe_file, saved_modules, weight_files
from harmony_parts.models.saved_tensors import iter_tensors, meta_tensors
from harmony_parts.train.run_folder import differences, with_defaults

BRANCH = re.compile(r"denoiser\.(?:branches|blocks\.\d+)\.(video|audio)\.")
SHOWN = 6  # names in an error


@attrs.frozen(eq=False)
class Parent:
    """A saved model that brings its branches: `parts` and `tensors` have shapes but no values."""

    folder: Path
    recipe: Recipe
    parts: Parts
    files: tuple[Path, ...]
    tensors: dict[str, Tensor]

    @classmethod
    def open(cls, folder: Path) -> Parent:
        """Read a model's recipe, and the shapes of its tensors."""
        folder = find_model(folder)
        recipe = read_recipe(recipe_file(folder))
        files = tuple(weight_files(folder))
        tensors = {name: x for file in files for name, x in meta_tensors(file).items()}
        parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
        return cls(folder, recipe, parts, files, tensors)


def lacks_a_stream(folder: Path, recipe: Recipe) -> bool:
    """Whether a saved model has fewer streams than the recipe's, so that it is only a part of it.

    Raises RunError if there is no model, or its recipe can't be read.
    """
    file = recipe_file(find_model(folder))
    try:
        codecs = tomllib.loads(file.read_text(encoding="utf-8")).get("codecs", {})
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: can't be read: {error}") from error
    return any(stream not in codecs for stream in _streams(recipe))


def join(recipe: Recipe, parts: Parts, folders: Sequence[Path]) -> tuple[str, ...]:
    """Load the branches and encoders of saved models into `parts`, which have fresh weights.

    Returns a report, a line each: where every branch and encoder comes from, what begins fresh,
    what of a model is left out, and which of its codec's settings differ. A fresh interaction has
    output projections of zero (those that ship do), so that the joined model computes what its
    parts do.

    Raises RunError, naming file, setting and remedy, if two models bring the same branch, one
    brings none, or a tensor is missing or has another shape.
    """
    parents = [Parent.open(folder) for folder in folders]
    expected = saved_modules(parts).state_dict()
    brings = _branches(recipe, parents)
    origin: dict[str, tuple[Parent, str]] = {}
    report: list[str] = []
    for stream in _streams(recipe):
        if stream in brings:
            found, lines = _branch(recipe, parts, expected, stream, brings[stream])
            origin |= {name: (brings[stream], name) for name in found}
            report += lines
        else:
            report.append(f"the {stream} branch begins fresh: no model brings it")
    report += _encoders(parts, expected, brings, origin)
    if any(".interaction." in name for name in expected):
        report.append("the interaction begins fresh")
    for parent in parents:
        report += _unused(parent, {name for p, name in origin.values() if p is parent})
        _load(parts, parent, {name: n for n, (p, name) in origin.items() if p is parent})
    return tuple(report)


def _streams(recipe: Recipe) -> tuple[str, ...]:
    return tuple(s for s in ("video", "audio") if getattr(recipe.codecs, s) is not None)


def _branches(recipe: Recipe, parents: Sequence[Parent]) -> dict[str, Parent]:
    """Which model brings the branch of each stream."""
    brings: dict[str, Parent] = {}
    for parent in parents:
        streams = [s for s in _streams(recipe) if s in _streams(parent.recipe)]
        if not streams or len(streams) < len(_streams(parent.recipe)):
            raise RunError(
                f"{recipe_file(parent.folder)}: $.codecs: this model has the streams"
                f" {' and '.join(_streams(parent.recipe))}, and {recipe.name} has only"
                f" {' and '.join(_streams(recipe))}; start from a model of fewer streams"
            )
        for stream in streams:
            if stream in brings:
                raise RunError(
                    f"{parent.folder} and {brings[stream].folder} both bring the {stream} branch;"
                    " start from one of them"
                )
            brings[stream] = parent
    return brings


def _branch(
    recipe: Recipe, parts: Parts, expected: Mapping[str, Tensor], stream: str, parent: Parent
) -> tuple[list[str], list[str]]:
    """The names of a branch's tensors that a model brings, and lines of the report."""
    wanted = _of_branch(expected, stream)
    missing = [name for name in wanted if name not in parent.tensors]
    here, there = _conditions(parts, stream), _conditions(parent.parts, stream)
    new = [name for name in here if name not in there]
    # a condition that the model didn't have enters by layers of its own, before the first block
    fresh = [name for name in missing if new and name.startswith("denoiser.branches.")]
    misshaped = [
        f"{name} (file: {list(parent.tensors[name].shape)}, model: {list(expected[name].shape)})"
        for name in wanted
        if name not in missing and parent.tensors[name].shape != expected[name].shape
    ]
    faults = {
        "missing": [name for name in missing if name not in fresh],
        "of another shape": misshaped,
        "not in this model": [
            name
            for name in _of_branch(parent.tensors, stream)
            if name not in expected and (set(there) <= set(here) or ".blocks." in name)
        ],
    }
    if not wanted:
        faults["missing"] = [f"a branch of {stream}: this denoiser isn't made of branches"]
    if any(faults.values()):
        fields = (f"$.denoiser.{stream}", "$.denoiser.layers", f"$.codecs.{stream}")
        raise _misfit(recipe, parent, f"its {stream} branch", faults, fields)
    lines = [f"the {stream} branch is that of {parent.folder}"]
    if new:
        lines.append(
            f"the {stream} branch's inputs for {', '.join(new)} begin fresh: {parent.folder} has"
            " no such condition"
        )
    codec = _changes(parent.recipe, recipe, [f"$.codecs.{stream}"])
    lines += [f"{line} (in {parent.folder}): its latents may differ" for line in codec]
    return [name for name in wanted if name not in fresh], lines


def _encoders(
    parts: Parts,
    expected: Mapping[str, Tensor],
    brings: Mapping[str, Parent],
    origin: dict[str, tuple[Parent, str]],
) -> Iterator[str]:
    """Add the tensors of the encoders to `origin`; yields lines of the report."""
    for name, encoder in parts.encoders.items():
        prefix = f"encoders.{name}."
        wanted = [tensor for tensor in expected if tensor.startswith(prefix)]
        if not wanted:
            continue
        streams = {parts.denoiser.accepts[condition].stream for condition in encoder.produces}
        found = {
            (parent.folder, theirs): parent
            for stream, parent in brings.items()
            for theirs, other in parent.parts.encoders.items()
            if stream in streams and other.produces.keys() == encoder.produces.keys()
        }
        if len(found) > 1:
            raise RunError(
                f"$.encoders.{name}: {' and '.join(str(folder) for folder, _ in found)} both bring"
                f" an encoder of {', '.join(encoder.produces)}; give each of these conditions an"
                " encoder of its own, or start from one of the models"
            )
        if not found:
            yield f"the encoder {name} begins fresh: no model brings it"
            continue
        (((folder, theirs), parent),) = found.items()
        names = {tensor: f"encoders.{theirs}.{tensor.removeprefix(prefix)}" for tensor in wanted}
        _check_encoder(parent, name, theirs, expected, names)
        origin |= {ours: (parent, their) for ours, their in names.items()}
        called = "" if theirs == name else f", called {theirs} there"
        yield f"the encoder {name} is that of {folder}{called}"


def _check_encoder(
    parent: Parent, name: str, theirs: str, expected: Mapping[str, Tensor], names: Mapping[str, str]
) -> None:
    """Raise RunError unless the model's encoder `theirs` has the tensors of our encoder `name`."""
    faults = {
        "missing": [other for other in names.values() if other not in parent.tensors],
        "of another shape": [
            f"{other} (file: {list(parent.tensors[other].shape)}, model: {list(expected[n].shape)})"
            for n, other in names.items()
            if other in parent.tensors and parent.tensors[other].shape != expected[n].shape
        ],
        "not in this model": [
            other
            for other in parent.tensors
            if other.startswith(f"encoders.{theirs}.") and other not in names.values()
        ],
    }
    if any(faults.values()):
        raise _misfit(None, parent, f"its encoder {theirs}", faults, [f"$.encoders.{name}"])


def _unused(parent: Parent, used: Collection[str]) -> Iterator[str]:
    """A line if tensors of a model are left out."""
    left = [name for name in parent.tensors if name not in used]
    if left:
        yield f"left out of {parent.folder}: {_listed(left)}"


def _load(parts: Parts, parent: Parent, names: Mapping[str, str]) -> None:
    """Copy a model's tensors, file by file; `names`: theirs -> ours."""
    module = saved_modules(parts)
    for file in parent.files:
        state = {names[name]: x for name, x in iter_tensors(file) if name in names}
        module.load_state_dict(state, strict=False)


def _of_branch(names: Iterable[str], stream: str) -> list[str]:
    return [n for n in names if (match := BRANCH.match(n)) and match[1] == stream]


def _conditions(parts: Parts, stream: str) -> list[str]:
    return [name for name, port in parts.denoiser.accepts.items() if port.stream == stream]


def _changes(before: Recipe, now: Recipe, fields: Iterable[str]) -> list[str]:
    """The settings in these tables of a recipe in which two recipes differ."""
    return _within(fields, *(tomllib.loads(write_recipe(recipe)) for recipe in (before, now)))


def network_changes(folder: Path, recipe: Recipe) -> list[str]:
    """The settings of its network in which a saved model differs from a recipe, a line each."""
    file = recipe_file(find_model(folder))
    was = with_defaults(file, tomllib.loads(file.read_text(encoding="utf-8")))
    now = tomllib.loads(write_recipe(recipe))
    return _within(("$.codecs", "$.encoders", "$.denoiser"), was, now)


def _within(fields: Iterable[str], before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        line
        for place, line in differences(before, now)
        if any(place == field or place.startswith(f"{field}.") for field in fields)
    ]


def _misfit(
    recipe: Recipe | None,
    parent: Parent,
    what: str,
    faults: Mapping[str, Sequence[str]],
    fields: Sequence[str],
) -> RunError:
    """The error of a part that doesn't fit: its tensors, and the settings that explain them."""
    settings = [] if recipe is None else _changes(parent.recipe, recipe, fields)
    lines = [
        *(f"  {fault}: {_listed(names)}" for fault, names in faults.items() if names),
        *(f"  {line}" for line in settings or fields),
    ]
    return RunError(
        f"{parent.files[0]}: {what} doesn't fit this recipe; give it the settings of"
        f" {recipe_file(parent.folder)}, or start from another model\n" + "\n".join(lines)
    )


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
