"""Prepared clips: the same as clips encoded on the fly."""

from __future__ import annotations

import attrs
import torch
from helpers import tiny_training as tiny

from harmony_parts.assembly.build import build
from harmony_parts.av import Condition
from harmony_parts.latents.conditions import concatenate
from harmony_parts.latents.order import Draw
from harmony_parts.latents.prepare import choose_examples, prepare_clips
from harmony_parts.latents.sources import OnTheFly

CPU = torch.device("cpu")


def test_prepared_clips_equal_clips_encoded_on_the_fly() -> None:
    """The same latents and conditions, over two chunks (18 clips); only padding may be longer."""
    recipe = tiny.recipe()
    parts, data = build(recipe, 0), recipe.data.build(format=recipe.format, root=None)
    generator = torch.Generator().manual_seed(3)
    source = prepare_clips(
        data,
        choose_examples(len(data), 18, generator),
        recipe.format,
        parts.codecs,
        parts.encoders,
        generator=generator,
        device=CPU,
    )  # type: ignore[arg-type]
    fly = OnTheFly(data, recipe.format, parts.codecs, parts.encoders, CPU)  # type: ignore[arg-type]
    assert len(source) == len(set(source.names)) == 18
    made = source.batch(torch.tensor([17, 0, 5]))
    draws = [Draw(int(name.rsplit("-", 1)[1]), 0) for name in made.names]
    same = fly.batch(fly.fetch(draws))
    assert made.names == same.names
    for stream in made.latents:
        # batches of another size, in float32
        torch.testing.assert_close(made.latents[stream], same.latents[stream], rtol=0, atol=1e-5)
    assert (
        made.conditions.keys() == same.conditions.keys() == {"caption", "sound", "image", "voice"}
    )
    for name, condition in made.conditions.items():
        other = same.conditions[name]
        assert torch.equal(condition.mask, other.mask)
        torch.testing.assert_close(condition.tokens, other.tokens, rtol=0, atol=1e-5)


def test_a_small_data_set_is_used_evenly() -> None:
    recipe = tiny.recipe()
    parts, data = build(recipe, 0), type(recipe.data)(size=3).build(format=recipe.format, root=None)  # type: ignore[call-arg]
    chosen = choose_examples(3, 8, torch.Generator())
    names = prepare_clips(
        data, chosen, recipe.format, parts.codecs, {}, generator=torch.Generator(), device=CPU
    ).names
    assert sorted(names.count(name) for name in set(names)) == [2, 3, 3]


def test_concatenated_conditions_are_padded_and_the_padding_masked() -> None:
    def ones(length: int) -> Condition:
        return Condition(torch.ones(2, length, 3), torch.ones(2, length, dtype=torch.bool))

    short, long = (attrs.evolve(ones(length), null=ones(length)) for length in (1, 4))
    whole = concatenate([short, long])
    assert whole.tokens.shape == (4, 4, 3)
    assert whole.mask.sum(1).tolist() == [1, 1, 4, 4]
    assert whole.null is not None
    assert whole.null.mask.sum(1).tolist() == [1, 1, 4, 4]
