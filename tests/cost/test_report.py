"""The lines of the cost report, against the parts themselves."""

from __future__ import annotations

import re

import torch

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.cost.parameters import parameters
from harmony_parts.cost.report import parameter_lines, time_line, window_lines
from harmony_parts.models.folder import saved_modules


def test_windows_follow_from_the_clocks(recipe):
    """Brute force over both clocks: latents of 1/12 s and 1/30 s, windows of 0.1 s."""
    parts = build(read_recipe(recipe))
    clocks = parts.codecs["video"].clock(6), parts.codecs["audio"].clock(15)

    def seen(queries: torch.Tensor, keys: torch.Tensor) -> list[int]:
        return [sum(bool(k[0] < q[1] + 0.1 and k[1] > q[0] - 0.1) for k in keys) for q in queries]

    output = "\n".join(window_lines(parts))
    for stream, sizes, keys in (
        ("video", seen(*clocks), 15),
        ("audio", seen(*clocks[::-1]), 6),
    ):
        assert (
            f"each of {len(sizes)} {stream} latents attends to {min(sizes)} to {max(sizes)} of"
            f" {keys}" in output
        )


def test_the_times_of_sampling_are_shown_with_the_shift_of_each_stream(recipe):
    """1 / 4 shifted: 5 / 8 by 5, 12 / 15 by 12, 3 / 6 by 3."""
    one = read_recipe(recipe, ["sample.shift.shift=5", "sample.steps=4"])
    assert time_line(one, ("video", "audio")) == (
        "times  1 to 0 by ConstantShift(shift=5.0), the last step from 0.625"
    )
    pair = read_recipe(
        recipe, ["sample.shift.video.shift=12", "sample.shift.audio.shift=3", "sample.steps=4"]
    )
    assert time_line(pair, ("video", "audio")) == (
        "times  video 1 to 0 by ConstantShift(shift=12.0), the last step from 0.8; audio 1 to 0 by"
        " ConstantShift(shift=3.0), the last step from 0.5"
    )
    assert time_line(pair, ("audio",)).startswith("times  audio 1 to 0 by ConstantShift(shift=3.0)")


def test_parameters_are_all_counted_once(recipe):
    parts = build(read_recipe(recipe))
    module = saved_modules(parts)
    total, tensors = sum(p.numel() for p in module.parameters()), len(list(module.parameters()))
    lines = parameter_lines(parameters(parts))
    assert f"({total:,} in {tensors} tensors)" in lines[-1]
    groups = {re.split(r"\s{2,}", line)[0] for line in lines}
    interaction = {
        f"interaction: {part}"
        for part in ("video attends to audio", "audio attends to video", "style")
    }
    assert (
        groups
        == {
            "encoder caption",
            "video branch",
            "audio branch",
            "trained together",
        }
        | interaction
    )
