"""What a batch starts from: a clip's noise is its seed's alone, and what doesn't fit is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import AV, Prompt
from harmony_parts.errors import RequestError
from harmony_parts.generate.starting_latents import check_batch, check_given, seeded_noise

CPU = torch.device("cpu")


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4))
def test_the_noise_of_a_clip_is_that_of_its_seed_alone(seeds: list[int]) -> None:
    def noise(*seeds: int) -> AV[torch.Tensor]:
        return seeded_noise(AV((len(seeds), 3, 2, 2, 4), (len(seeds), 5, 6)), seeds, CPU)

    together = noise(*seeds)
    for row, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        for stream, shape in (("video", (3, 2, 2, 4)), ("audio", (5, 6))):
            drawn = torch.randn(shape, generator=generator)
            assert torch.equal(together[stream][row], drawn)
            assert torch.equal(noise(seed)[stream][0], drawn)


def test_a_batch_that_does_not_fit_is_refused() -> None:
    check_batch([Prompt()], [0], 1)
    with pytest.raises(ValueError, match="frames must be at least 1, not 0"):
        check_batch([Prompt()], [0], 0)
    with pytest.raises(ValueError, match="there are 0 prompts and 0 seeds"):
        check_batch([], [], 1)
    with pytest.raises(RequestError, match="seed must be a whole number"):
        check_batch([Prompt(), Prompt()], [0, -1], 1)


def test_given_latents_of_another_shape_are_refused() -> None:
    shapes: AV[tuple[int, ...]] = AV((2, 3, 1, 1, 4), (2, 5, 6))
    check_given(AV(audio=torch.zeros(2, 5, 6)), shapes, 3)
    wanted = r"the given audio is \[1, 5, 6\]; 2 clips of 3 frames take \[2, 5, 6\]"
    with pytest.raises(ValueError, match=wanted):
        check_given(AV(audio=torch.zeros(1, 5, 6)), shapes, 3)
