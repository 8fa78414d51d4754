"""Unreadable clips: each is replaced by the next readable one."""

from __future__ import annotations

import pytest
import torch

from harmony_parts.errors import MediaError
from harmony_parts.latents.readable import Readable


class Failing:
    """A data set of 100 examples; those in `bad` raise MediaError after drawing a number."""

    def __init__(self, *bad: int) -> None:
        self.bad, self.tried = set(bad), []

    def __len__(self) -> int:
        return 100

    def example(self, index: int, generator: torch.Generator) -> tuple[int, float]:
        self.tried.append(index)
        drawn = float(torch.rand((), generator=generator))
        if index in self.bad:
            raise MediaError(f"{index}.mp4: is bad")
        return index, drawn


def test_the_next_clip_replaces_an_unreadable_one_with_the_same_random_state() -> None:
    warnings: list[str] = []
    data, generator = Failing(5, 6, 99), torch.Generator().manual_seed(1)
    readable = Readable(data, warnings.append)  # type: ignore[arg-type]
    first = float(torch.rand((), generator=torch.Generator().manual_seed(1)))
    assert readable.example(5, generator) == (7, first)
    assert [readable.example(n, generator)[0] for n in (6, 7, 99, 5)] == [7, 7, 0, 7]  # type: ignore[index]
    assert [data.tried.count(n) for n in (5, 6, 99)] == [1, 1, 1]
    assert len(warnings) == 3
    assert "6.mp4: is bad; this clip is skipped from now on (2 of 100 so far)" in warnings[1]


def test_many_consecutive_unreadable_clips_are_blamed_on_the_disk() -> None:
    data = Failing(*range(100))
    with pytest.raises(
        MediaError, match=r"7\.mp4: is bad\n8 clips in a row can't be read: is the disk still"
    ):
        Readable(data, lambda text: None).example(0, torch.Generator())  # type: ignore[arg-type]
    assert len(data.tried) == 8
