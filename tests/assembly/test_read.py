"""Recipes are read from files, shipped names and tables, and written with versions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import tomli_w
from helpers.toy_parts import TINY, Plugin, with_toys

from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.assembly.read import (
    CHANGES,
    RECIPE_VERSION,
    read_recipe,
    shipped_recipes,
    write_recipe,
)
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.assembly.tables import structure
from harmony_parts.errors import AssemblyError

TOYS = with_toys()


def test_a_written_recipe_is_read_as_an_equal_one():
    """And written again as the same text. Names are qualified; versions are noted but optional."""
    recipe = read_recipe(TINY, parts=TOYS)
    text = write_recipe(recipe, parts=TOYS)
    table = tomllib.loads(text)
    assert read_recipe(table, parts=TOYS) == recipe
    assert write_recipe(read_recipe(table, parts=TOYS), parts=TOYS) == text
    assert table["codecs"]["video"]["use"] == "harmony/dct"
    assert table["format"]["fps"] == "25/2"
    assert table["harmony"]["version"]
    assert table["sample"]["guidance"]["mute"]["use"] == "harmony/mute"
    del table["harmony"]
    assert read_recipe(table, parts=TOYS) == recipe


@pytest.mark.parametrize(
    ("versions", "cause"),
    [
        ({"version": "0.1.0"}, r"\$\.harmony\.recipe: .* version 1, .* other clips .*style begins"),
        ({"recipe": RECIPE_VERSION + 1}, "upgrade harmony-parts"),
        ({"recipe": "new"}, "version 'new', .* upgrade harmony-parts"),
        ("2", r"\$\.harmony: expected a table"),
    ],
)
def test_a_recipe_of_another_version_is_refused(versions, cause):
    """Since the same weights would make other clips; without the table, settings are read."""
    with pytest.raises(AssemblyError, match=cause):
        read_recipe(TINY | {"harmony": versions}, parts=TOYS)
    assert set(CHANGES) == set(range(2, RECIPE_VERSION + 1))


class Outside:
    """A plugin of another package."""

    harmony_guidance = Plugin.harmony_guidance


def test_a_missing_plugin_is_named_with_the_version_that_the_recipe_was_written_with():
    """Because its parts may then be unknown."""
    parts = with_toys()
    parts.add("outside", Outside(), distribution="harmony-outside", version="4.5")
    recipe = read_recipe(TINY, ["sample.guidance.use=outside/everything"], parts=parts)
    text = write_recipe(recipe, parts=parts)
    assert tomllib.loads(text)["harmony"]["plugins"] == {"outside": "harmony-outside 4.5"}
    with pytest.raises(
        AssemblyError,
        match=r"\$\.harmony\.plugins\.outside: the recipe was written with harmony-outside 4\.5",
    ):
        read_recipe(tomllib.loads(text), parts=TOYS)


def test_a_recipe_is_read_from_a_file(tmp_path):
    """By its path or its path as a string; errors name the file."""
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps(TINY), encoding="utf-8")
    recipe = read_recipe(TINY, parts=TOYS)
    assert read_recipe(file, parts=TOYS) == read_recipe(str(file), parts=TOYS) == recipe
    file.write_text("name = = 3")
    with pytest.raises(
        AssemblyError, match=r"mine\.toml can't be assembled:\n  it isn't TOML: .*line 1"
    ):
        read_recipe(file)


def test_an_unknown_recipe_gets_the_nearest_shipped_name():
    """If one is near."""
    with pytest.raises(AssemblyError, match="no shipped recipe of that name"):
        read_recipe("no-such-recipe")
    for name in shipped_recipes():
        with pytest.raises(AssemblyError, match=f"did you mean '{name}'"):
            read_recipe(name + "x")


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_read_and_written(name):
    """Recipes that need plugins name them in the error."""
    table = tomllib.loads(shipped_recipes()[name].read_text(encoding="utf-8"))
    wanted = table.get("harmony", {}).get("plugins", {})
    if wanted:
        with pytest.raises(AssemblyError, match="|".join(map(re.escape, wanted.values()))):
            read_recipe(name)
        return
    recipe = read_recipe(name)
    assert read_recipe(tomllib.loads(write_recipe(recipe))) == recipe


def test_the_default_catalogue_is_that_of_the_process():
    """Reading without `parts` finds installed plugins."""
    assert read_recipe(TINY) == structure(TINY, Recipe, parts=catalogue())


def test_a_folder_given_as_a_recipe_is_refused_with_the_path_of_its_recipe(tmp_path: Path) -> None:
    """The folder of a run, or of the model in it."""
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    (model / "recipe.toml").write_text("")
    for folder in (tmp_path / "run", model):
        with pytest.raises(
            AssemblyError, match=re.escape(f"its recipe is {str(model / 'recipe.toml')!r}")
        ):
            read_recipe(str(folder))


def test_filters_can_be_appended_to_a_written_recipe() -> None:
    """TOML refuses `[[filters]]` after `filters = []`."""
    text = write_recipe(read_recipe("clips")) + '\n[[filters]]\nuse = "silence"\nshare = 0.8\n'
    (found,) = read_recipe(tomllib.loads(text)).filters
    assert type(found).__name__ == "Silence"
