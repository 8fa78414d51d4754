"""Canvas: exact areas, exposure, and parts of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_parts.scenes.canvas import FLASH_DECAY, Canvas


def blank(frames: int = 6, size: int = 24) -> Canvas:
    return Canvas(frames, size, size, 12.0, (0.1, 0.2, 0.3))


def test_flash_is_the_mean_over_the_exposure() -> None:
    canvas, time = Canvas(24, 1, 1, 12.0, (0, 0, 0)), 0.637
    fine = (np.arange(24 * 2000) + 0.5) / (12 * 2000)
    light = (
        np.where(fine >= time, np.exp(-np.maximum(fine - time, 0) / FLASH_DECAY), 0)
        .reshape(24, 2000)
        .mean(1)
    )
    # The midpoint rule errs by at most one of the 2,000 steps, the one with the jump.
    assert np.abs(canvas.flash(np.array([time])).ravel() - light).max() < 1 / 2000


@settings(max_examples=25)
@given(st.floats(0.1, 0.3), st.floats(0.4, 0.6), st.floats(0.4, 0.6), st.sampled_from([16, 64]))
def test_discs_have_the_exact_area_and_centre_to_a_fraction_of_a_pixel(
    radius: float, x: float, y: float, size: int
) -> None:
    canvas = Canvas(1, size, size, 1.0, (0, 0, 0))
    canvas.paint(canvas.disc(x, y, radius), (1, 1, 1))
    cover = canvas.image[0, :, :, 0].astype(float)
    area = cover.sum() / size**2
    # A vertical edge is exact, an oblique one is off by at most 0.04 pixel along the
    # circumference.
    assert abs(area - np.pi * radius**2) < 0.04 / size * 2 * np.pi * radius
    centre = (cover * canvas.x[0]).sum() / cover.sum(), (cover * canvas.y[0]).sum() / cover.sum()
    assert abs(centre[0] - x) < 0.05 / size
    assert abs(centre[1] - y) < 0.05 / size


def moving(canvas: Canvas) -> list:
    """A shape of every kind that moves, with what it is drawn with."""
    x = 0.2 + 0.9 * canvas.middle
    return [
        canvas.disc(x, 0.4, 0.11),
        canvas.disc(0.5, x, 0.21, 0.03),
        canvas.box(x, 0.3, 0.2, 0.05, 2 * x),
        canvas.box(0.4, x, 0.1, 0.1),
        canvas.line(0.1, x, x, 0.9, 0.03),
        canvas.profile(x, 0.1, 0.3 * x, 0.6, lambda share: 0.1 + 0.1 * share),
    ]


@pytest.mark.parametrize("number", range(6))
def test_shapes_reach_no_further_than_they_say(number: int) -> None:
    """Drawing over the whole picture, however far the shape is, gives the same pixels."""
    near, far = blank(), blank()
    far._shift = 2.0  # a camera that might shake by two pictures
    for canvas in (near, far):
        canvas.paint(moving(canvas)[number], (1.0, 0.5, 0.2))
    assert near.image.std() > 0.01
    assert np.array_equal(near.image, far.image)


def test_a_part_of_the_frames_is_drawn_alone() -> None:
    whole, part = blank(), blank()
    whole.paint(whole.disc(0.5, 0.5, 0.3), (1, 1, 1), (whole.middle > 0.2).astype(float))
    during = part.during(0.2, 9.0)
    assert during is not None
    during.paint(during.disc(0.5, 0.5, 0.3), (1, 1, 1), (during.middle > 0.2).astype(float))
    assert np.array_equal(whole.image, part.image)
    assert part.during(9.0, 10.0) is None


def test_an_inset_is_the_same_picture_smaller() -> None:
    large, small = blank(size=48), blank(size=24)
    inset = large.inset(0.5, 0.0, 0.5)
    for canvas in (inset, small):
        for shape in moving(canvas):
            canvas.paint(shape, (1.0, 0.5, 0.2))
    assert np.allclose(large.image[:, :24, 24:], small.image, atol=1e-4)  # float32 coordinates
    assert np.array_equal(large.image[:, 24:], blank(size=48).image.repeat(6, 0)[:, 24:])


def test_a_shift_moves_what_is_drawn() -> None:
    still, shaken = blank(), blank()
    shaken.shift(np.full(6, 2 / 24), np.full(6, -1 / 24))
    still.paint(still.disc(0.5 + 2 / 24, 0.5 - 1 / 24, 0.2), (1, 1, 1))
    shaken.paint(shaken.disc(0.5, 0.5, 0.2), (1, 1, 1))
    assert np.allclose(still.image, shaken.image, atol=1e-5)


def test_a_flare_is_a_glow_of_a_flash() -> None:
    one, other = blank(30), blank(30)
    one.flare(np.array([0.7]), 0.3, 0.6, 0.3, 0.8)
    other.glow(0.3, 0.6, 0.3, 0.8 * other.flash(np.array([0.7])))
    # It ends after seven decays, exp(-7).
    assert np.abs(one.image - other.image).max() < 1e-3
