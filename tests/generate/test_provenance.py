"""The provenance of clips: hashes of recipes."""

from __future__ import annotations


def test_the_recipe_hash_differs_between_recipes(trained):
    import attrs

    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.generate.provenance import recipe_hash

    recipe = read_recipe(trained / "recipe.toml")
    assert recipe_hash(recipe) == recipe_hash(read_recipe(trained / "recipe.toml"))
    assert recipe_hash(
        attrs.evolve(recipe, train=attrs.evolve(recipe.train, seed=1))
    ) != recipe_hash(recipe)
