"""Encoding clips."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.assembly.build import build
from harmony_parts.errors import RunError
from harmony_parts.latents.encode import encode_examples

CPU = torch.device("cpu")


def test_the_error_for_a_clip_in_another_format_names_it() -> None:
    recipe = tiny.recipe()
    other = tiny.recipe().data.build(
        format=type(recipe.format)(fps=8, height=16, width=16, sample_rate=4000, seconds=2.0),
        root=None,
    )
    with pytest.raises(
        RunError,
        match=r"ball-0-0: has frames of \[16, 16, 16, 3\]; the model's format is \[8, 16, 16, 3\]",
    ):
        encode_examples(
            [other.example(0, torch.Generator())], recipe.format, build(recipe, 0).codecs, CPU
        )
