"""Recipes and what they make: TOML <-> `Recipe` -> parts. Importing this imports no torch; reading
a recipe does.

A recipe in TOML has the names of `harmony_parts.recipe.Recipe`. A part is a table with `use =
"name"` or `"plugin/name"` and its settings, or just the name, for the defaults. The table
`[harmony]`, with the versions that a recipe was written with, is optional.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import tomli_w

from harmony_parts.av import AV, Format
from harmony_parts.catalogue import Catalogue, catalogue, installed_version, nearest
from harmony_parts.errors import AssemblyError
from harmony_parts.overrides import apply_overrides
from harmony_parts.structure import parts_in, structure, unstructure

if TYPE_CHECKING:
    from harmony_parts.blocks.protocol import Denoiser
    from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
    from harmony_parts.encoders.protocol import Encoder
    from harmony_parts.recipe import Recipe

__all__ = ["Parts", "apply_overrides", "build", "read_recipe", "shipped_recipes", "write_recipe"]

P = TypeVar("P")
VERSIONS = "harmony"


# --- reading and writing --------------------------------------------------------------------------


def shipped_recipes() -> dict[str, Traversable]:
    """Name -> file of the recipes that come with the library; those of a subfolder are called
    "folder/name".
    """
    return dict(sorted(_recipes(importlib.resources.files("harmony_parts") / "recipes", "")))


def _recipes(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir():
            yield from _recipes(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".toml"):
            yield prefix + entry.name.removesuffix(".toml"), entry


def read_recipe(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    parts: Catalogue | None = None,
) -> Recipe:
    """The recipe of a TOML file, of a shipped name, or of a plain table, with `overrides`
    ("train.steps=10") applied.

    Raises AssemblyError: no such recipe, no TOML, or all that is wrong with its settings, each
    fault with its `$.path`.
    """
    from harmony_parts.recipe import Recipe

    where, table = _table(source)
    known = parts or catalogue()
    table = apply_overrides(table, overrides, Recipe, parts=known)
    versions = table.pop(VERSIONS, {})
    if not isinstance(versions, Mapping):
        raise AssemblyError(
            f"$.{VERSIONS}: expected a table (what a recipe was written with; it can be left out)",
            where,
        )
    try:
        return structure(table, Recipe, parts=known, where=where)
    except AssemblyError as error:
        raise AssemblyError([*error.faults, *_absent(versions, known)], where) from error


def _table(source: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What to call a recipe in errors, and its table."""
    if isinstance(source, Mapping):
        return "recipe", dict(source)
    name = str(source)
    file: Traversable = Path(source)
    if not file.is_file():
        shipped = shipped_recipes()
        if (
            inside := next(
                (
                    p
                    for p in (Path(name, "recipe.toml"), Path(name, "model", "recipe.toml"))
                    if p.is_file()
                ),
                None,
            )
        ) is not None:
            raise AssemblyError(
                f"it is the folder of a model or a run; its recipe is {str(inside)!r}", name
            )
        if isinstance(source, Path) or name not in shipped:
            known = f"{nearest(name, shipped)}; recipes that ship: {', '.join(shipped) or 'none'}"
            raise AssemblyError(
                f"there is no file {name!r}, and no shipped recipe of that name{known}", name
            )
        file = shipped[name]
    try:
        return name, tomllib.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise AssemblyError(f"it isn't text in UTF-8: {error}", name) from error
    except tomllib.TOMLDecodeError as error:
        raise AssemblyError(f"it isn't TOML: {error}", name) from error


def _absent(versions: Mapping[str, Any], parts: Catalogue) -> Iterator[str]:
    """Plugins that a recipe was written with and that aren't here: why its parts may be unknown."""
    here, plugins = {declared.plugin for declared in parts.list()}, versions.get("plugins", {})
    for plugin, version in plugins.items() if isinstance(plugins, Mapping) else ():
        if plugin not in here:
            yield (
                f"$.{VERSIONS}.plugins.{plugin}: the recipe was written with {version}, which isn't"
                " installed"
            )


def write_recipe(recipe: Recipe, *, parts: Catalogue | None = None) -> str:
    """The expanded recipe as TOML: every setting written out, qualified names, and `[harmony]` with
    the versions of library and plugins.

    `read_recipe` of it gives an equal recipe. Raises AssemblyError for a part that no plugin
    declares.
    """
    known = parts or catalogue()
    versions: dict[str, Any] = {"version": installed_version()}
    plugins = known.distributions(parts_in(recipe, known))
    if plugins:
        versions["plugins"] = dict(sorted(plugins.items()))
    return tomli_w.dumps({**unstructure(recipe, parts=known), VERSIONS: versions})


# --- building -------------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Parts:
    """The working parts of a model. Encoders have the names that the recipe gives them."""

    format: Format
    codecs: AV[VideoCodec | AudioCodec]
    encoders: dict[str, Encoder]
    denoiser: Denoiser

    def each(self) -> Iterator[VideoCodec | AudioCodec | Encoder | Denoiser]:
        """All of them, one by one."""
        yield from (self.codecs[stream] for stream in self.codecs)
        yield from self.encoders.values()
        yield self.denoiser


def build(recipe: Recipe, seed: int = 0, *, empty: Collection[str] = ()) -> Parts:
    """The parts of a recipe, with fresh weights: codecs, then encoders, then the denoiser, each
    sized for those before it.

    A part's weights are a function of the seed, of its place in the recipe and of what it is told
    of its neighbours, so that exchanging one encoder leaves the others as they were. The global
    generator stays untouched. The parts of `empty` ("codecs", "encoders", "denoiser") are made on
    the meta device: they have shapes and no numbers, so that a model of any size can be looked at,
    or filled with saved weights. Raises AssemblyError where parts don't fit together.
    """
    try:
        return _assembled(recipe, seed, empty)
    except AssemblyError as error:
        raise AssemblyError(error.faults, recipe.name) from error


def _assembled(recipe: Recipe, seed: int, empty: Collection[str]) -> Parts:
    """See `build`."""

    def built(path: str, make: Callable[..., P], **neighbours: Any) -> P:
        return _built(f"$.{path}", seed, make, path.partition(".")[0] in empty, **neighbours)

    specs: AV[Any] = AV(recipe.codecs.video, recipe.codecs.audio)
    codecs: AV[Any] = AV(
        **{s: built(f"codecs.{s}", specs[s].build, format=recipe.format) for s in specs}
    )
    encoders = {
        name: built(f"encoders.{name}", spec.build, format=recipe.format, codecs=codecs)
        for name, spec in recipe.encoders.items()
    }
    _check_conditions(recipe, encoders)
    denoiser = built("denoiser", recipe.denoiser.build, codecs=codecs, encoders=encoders)
    _check_hints(recipe, denoiser)
    return Parts(recipe.format, codecs, encoders, denoiser)


def _built(path: str, seed: int, make: Callable[..., P], empty: bool, **neighbours: Any) -> P:
    """One part, with the global generator seeded for it alone, and its complaints under its
    path.
    """
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices), torch.device("meta") if empty else nullcontext():
        torch.manual_seed(
            int.from_bytes(hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=7).digest())
        )
        try:
            return make(**neighbours)
        except AssemblyError as error:
            raise AssemblyError([_under(path, fault) for fault in error.faults]) from error
        except ValueError as error:
            raise AssemblyError(f"{path}: {error}") from error


def _under(path: str, fault: str) -> str:
    """A part's own fault, with its path from the root of the recipe."""
    if fault.startswith(path):
        return fault
    return path + fault[1:] if fault.startswith("$") else f"{path}: {fault}"


def _check_conditions(recipe: Recipe, encoders: Mapping[str, Encoder]) -> None:
    faults: list[str] = []
    produced: dict[str, str] = {}
    for name, encoder in encoders.items():
        for condition in encoder.produces:
            if condition in produced:
                faults.append(
                    f"$.encoders.{name}: it produces the condition {condition!r}, and so does"
                    f" {produced[condition]}; change one"
                )
            produced[condition] = name
    for condition in recipe.train.drop:
        if condition not in produced:
            has = f"{nearest(condition, produced)}; there are: {', '.join(produced) or 'none'}"
            faults.append(f"$.train.drop.{condition}: no encoder produces this condition{has}")
    if faults:
        raise AssemblyError(faults)


def _check_hints(recipe: Recipe, denoiser: Denoiser) -> None:
    """A hint that the denoiser doesn't know is told before anything is trained, for what guidance
    asks of each task at some times.
    """
    from harmony_parts.guidance.protocol import StepTimes, unknown_hints

    for t in (1.0, 0.75, 0.5, 0.25, 0.01):  # a guidance may rest in some
        for times in (StepTimes(t, t), StepTimes(t, 0.0), StepTimes(0.0, t)):
            for asked in recipe.sample.guidance.passes(times, None):
                if misfit := unknown_hints(asked, denoiser.hints):
                    raise AssemblyError(f"$.sample.guidance: it asks for {misfit}")
