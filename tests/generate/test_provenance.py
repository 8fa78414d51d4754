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


def test_the_shift_of_a_request_is_part_of_it(trained):
    """One shift as one table, a pair as one table for each stream."""
    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.flow.shift import ConstantShift
    from harmony_parts.flow.stream_shifts import StreamShifts
    from harmony_parts.generate.provenance import provenance_of
    from harmony_parts.generate.request import Request

    recipe, one = read_recipe(trained / "recipe.toml"), ConstantShift(12.0)
    table = {"use": "harmony/constant", "shift": 12.0}
    for shift, expected in (
        (one, table),
        (StreamShifts(one, one), {"video": table, "audio": table}),
    ):
        assert provenance_of(recipe, "", Request(shift=shift))["shift"] == expected


def test_that_nothing_is_made_again_is_part_of_it(trained):
    """Of all zeros and empty texts, this one determines the clip."""
    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.generate.provenance import provenance_of
    from harmony_parts.generate.request import Request

    recipe = read_recipe(trained / "recipe.toml")
    found = provenance_of(recipe, "", Request(prompt="", remake=0))
    assert found["remake"] == 0
    assert "prompt" not in found
