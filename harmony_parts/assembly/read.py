"""Reads and writes recipes in TOML, and lists those that ship with the library.

The names in TOML are those of `harmony_parts.assembly.recipe.Recipe`. A part is a table with `use =
"name"` or `"plugin/name"` and its settings, or only its name if all settings have their defaults.
The table `[published]` names a publisher's model once for all parts (`name_published`).
The table `[harmony]`, with the versions that wrote the recipe, is optional; an older or newer
version of recipes is refused. Importing this module imports no torch; reading a recipe does.
"""

from __future__ import annotations

import importlib.resources
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.declared import installed_version
from harmony_parts.assembly.overrides import apply_overrides
from harmony_parts.assembly.published import name_published
from harmony_parts.assembly.tables import parts_in, structure, unstructure
from harmony_parts.errors import AssemblyError, nearest

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe


VERSIONS = "harmony"  # the table with the versions that wrote a recipe
RECIPE_VERSION = 2
"""Raised by a change of what the same recipe and weights make; `CHANGES` says what it was."""
CHANGES = {2: "style begins a layer, so that its joint attention reads the updated reference"}
RECIPE = "recipe.toml"  # the file name in the folder of a model or a run


def codec_file(stream: str) -> str:
    """The file name of a learned codec's weights in the folder of a model."""
    return f"codec-{stream}.safetensors"


def shipped_recipes() -> dict[str, Traversable]:
    """Name -> file of the recipes in the package; those in a subfolder are named "folder/name"."""
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
    """Read a recipe from a TOML file, the name of a shipped recipe, or a plain table.

    A model's learned codecs have the weights beside its recipe. `overrides` such as
    "train.steps=10" are applied first. Raises AssemblyError if there is no such
    recipe, it isn't TOML, it was written in another version of recipes, or settings are wrong;
    every fault is listed with its `$.path`.
    """
    from harmony_parts.assembly.recipe import Recipe

    name, table = _table(source)
    parts = parts or catalogue()
    if fault := version_fault(table):
        raise AssemblyError(fault, name)
    table = apply_overrides(table, overrides, Recipe, parts=parts)
    versions = table.pop(VERSIONS, {})
    try:
        return structure(name_published(table, parts), Recipe, parts=parts, name=name)
    except AssemblyError as error:
        raise AssemblyError([*error.faults, *_absent(versions, parts)], name) from error


def _table(source: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of a recipe in errors, and its table."""
    if isinstance(source, Mapping):
        return "recipe", dict(source)
    name = str(source)
    file: Traversable = Path(source)
    if not file.is_file():
        shipped = shipped_recipes()
        if (
            inside := next(
                (p for p in (Path(name, RECIPE), Path(name, "model", RECIPE)) if p.is_file()),
                None,
            )
        ) is not None:
            raise AssemblyError(
                f"this is the folder of a model or a run; its recipe is {str(inside)!r}", name
            )
        if isinstance(source, Path) or name not in shipped:
            names = f"{nearest(name, shipped)}; shipped recipes: {', '.join(shipped) or 'none'}"
            raise AssemblyError(
                f"there is no file {name!r}, and no shipped recipe of that name{names}", name
            )
        file = shipped[name]
    try:
        return name, _with_own_codecs(tomllib.loads(file.read_text(encoding="utf-8")), file)
    except UnicodeDecodeError as error:
        raise AssemblyError(f"it isn't UTF-8 text: {error}", name) from error
    except tomllib.TOMLDecodeError as error:
        raise AssemblyError(f"it isn't TOML: {error}", name) from error


def _with_own_codecs(table: dict[str, Any], file: Traversable) -> dict[str, Any]:
    """The table of a recipe's file, with the full paths of codecs' weights that lie beside it."""
    codecs = table.get("codecs")
    if not isinstance(file, Path) or not isinstance(codecs, dict):
        return table
    for stream, settings in codecs.items():
        own = file.parent.absolute() / codec_file(stream)
        named = settings.get("weights") if isinstance(settings, dict) else None
        if named is not None and (own.is_file() or named == own.name):
            settings["weights"] = str(own)
    return table


def version_fault(table: Mapping[str, Any]) -> str:
    """Why a recipe of another version can't be used, "" if it can or doesn't name its version.

    A model that was trained in an older version would make other clips now, without a word.
    """
    versions = table.get(VERSIONS)
    if versions is None:
        return ""
    if not isinstance(versions, Mapping):
        return f"$.{VERSIONS}: expected a table (the versions that wrote the recipe; optional)"
    if not versions.keys() & {"version", "recipe"}:  # only the plugins that it needs, by hand
        return ""
    written = versions.get("recipe", 1)
    if written == RECIPE_VERSION:
        return ""
    if not isinstance(written, int) or written > RECIPE_VERSION:
        return (
            f"$.{VERSIONS}.recipe: the recipe is of version {written!r}, and this library reads"
            f" version {RECIPE_VERSION}; upgrade harmony-parts"
        )
    changed = "; ".join(text for version, text in CHANGES.items() if version > written)
    return (
        f"$.{VERSIONS}.recipe: the recipe is of version {written}, and its weights would make other"
        f" clips in version {RECIPE_VERSION} ({changed}); train or convert the model anew. To use"
        f" only the settings, remove the table [{VERSIONS}]"
    )


def _absent(versions: Mapping[str, Any], parts: Catalogue) -> Iterator[str]:
    """The missing plugins that a recipe was written with, which explain unknown parts."""
    here, plugins = {declared.plugin for declared in parts.list()}, versions.get("plugins", {})
    for plugin, version in plugins.items() if isinstance(plugins, Mapping) else ():
        if plugin not in here:
            yield (
                f"$.{VERSIONS}.plugins.{plugin}: the recipe was written with {version}, which isn't"
                " installed (if only its guidance needs it, another one does: --guidance none, or"
                ' load(MODEL, guidance="none"))'
            )


def write_recipe(recipe: Recipe, *, parts: Catalogue | None = None) -> str:
    """The expanded recipe as TOML: all settings, qualified names, versions in `[harmony]`.

    Empty lists of filters and metrics are left out, so that `[[filters]]` can be appended.
    `read_recipe` reads it as an equal recipe. Raises AssemblyError if no plugin declares a part.
    """
    parts = parts or catalogue()
    versions: dict[str, Any] = {"version": installed_version(), "recipe": RECIPE_VERSION}
    plugins = parts.distributions(parts_in(recipe, parts))
    if plugins:
        versions["plugins"] = dict(sorted(plugins.items()))
    table = unstructure(recipe, parts=parts)
    for name in ("filters", "metrics"):
        if not table[name]:
            del table[name]
    return tomli_w.dumps({**table, VERSIONS: versions})
