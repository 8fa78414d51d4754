"""The order of batches: a pure function of seed, epoch and place."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.latents.order import BatchOrder, Draw, Group, Place, single_group, slice_of

SHAPES = st.lists(st.integers(0, 2), min_size=1, max_size=24)


def batches(order: BatchOrder, count: int, place: Place | None = None) -> list[list[Draw]]:
    place, drawn = place or Place(), []
    for _ in range(count):
        some, place = order.draws(place)
        drawn.append(some)
    return drawn


def one_group(shapes: list[int], batch: int, seed: int = 0) -> BatchOrder:
    return BatchOrder(single_group(len(shapes))[0], np.array(shapes), batch, seed)


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 100))
def test_every_clip_is_drawn_once_before_any_is_drawn_twice(size: int, batch: int, seed: int):
    drawn = [d for some in batches(one_group([0] * size, batch, seed), 3 * size) for d in some]
    rounds = [drawn[i : i + size] for i in range(0, len(drawn) // size * size, size)]
    for number, some in enumerate(rounds):
        assert sorted(some) == [Draw(clip, number) for clip in range(size)]
    assert size < 8 or [d.clip for d in rounds[0]] != [d.clip for d in rounds[1]]


@given(SHAPES, st.integers(1, 7), st.integers(0, 9))
def test_a_batch_has_one_shape_and_no_clip_is_left_out(shapes: list[int], batch: int, seed: int):
    """Within a shape, clips are drawn equally often, to within one. Of n draws a shape has its
    share, to within an epoch's clips of it and an unfilled batch of each shape.
    """
    drawn = batches(one_group(shapes, batch, seed), -(-12 * len(shapes) // batch) * 2)
    assert all(len({shapes[d.clip] for d in some}) == 1 for some in drawn)
    assert all(len(some) == batch for some in drawn)
    for shape in set(shapes):
        of = [d for some in drawn for d in some if shapes[d.clip] == shape]
        counts = Counter(d.clip for d in of)
        counts.update({clip: 0 for clip, its in enumerate(shapes) if its == shape})
        assert max(counts.values()) - min(counts.values()) <= 1
        clips = shapes.count(shape)
        ideal = len(drawn) * batch * clips / len(shapes)
        assert abs(len(of) - ideal) <= clips + len(set(shapes)) * batch


@given(SHAPES, st.integers(1, 7), st.integers(0, 40), st.integers(1, 5))
def test_any_process_that_resumes_draws_what_it_would_have_drawn(
    shapes: list[int], batch: int, stopped: int, ranks: int
):
    """A new order from the place alone, at any number of processes: together all rows, in order."""
    straight = batches(one_group(shapes, batch), stopped + 3)
    place = Place()
    for _ in range(stopped):
        _, place = one_group(shapes, batch).draws(place)
    resumed = batches(one_group(shapes, batch), 3, Place(place.epoch, place.batch))
    assert resumed == straight[stopped:]
    pieces = [slice_of(batch, rank, ranks) for rank in range(ranks)]
    assert [draw for piece in pieces for draw in resumed[0][piece]] == resumed[0]
    sizes = [len(range(batch)[piece]) for piece in pieces]
    assert max(sizes) - min(sizes) <= 1


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=4),
    st.integers(1, 8),
)
def test_groups_have_their_shares(groups: list[tuple[int, int]], batch: int):
    """Of one shape: after any number of draws to within one for each group before it."""
    bounds = [0, *np.cumsum([n for n, _ in groups]).tolist()]
    made = [Group(np.arange(a, b), Fraction(w)) for (a, b), (_, w) in zip(pairwise(bounds), groups)]
    order = BatchOrder(made, np.zeros(bounds[-1], int), batch)
    drawn = [d.clip for some in batches(order, 30) for d in some]
    whole = sum(w for _, w in groups)
    for (a, b), (_, w) in zip(pairwise(bounds), groups):
        seen = np.cumsum([a <= clip < b for clip in drawn])
        ideal = np.arange(1, len(drawn) + 1) * w / whole
        assert np.abs(seen - ideal).max() <= len(groups)


def test_two_equal_shares_alternate():
    """Speech : environment = 1 : 1 holds in every batch of an even size."""
    groups = [Group(np.arange(3), Fraction(1, 2)), Group(np.arange(3, 100), Fraction(1, 2))]
    for some in batches(BatchOrder(groups, np.zeros(100, int), 6), 50):
        assert sum(draw.clip < 3 for draw in some) == 3


def test_the_order_is_fixed_for_ever():
    """A run that is resumed with a later version of numpy draws the same clips."""
    drawn = batches(one_group([0, 1, 0, 0, 1, 0, 0], 2, seed=7), 4)
    assert [[d.clip for d in some] for some in drawn] == [[6, 2], [1, 4], [0, 5], [4, 1]]


def test_empty_groups_are_refused():
    with pytest.raises(ValueError, match="at least one clip and a share above 0"):
        BatchOrder([Group(np.arange(0), Fraction(1))], np.zeros(0, int), 2)
