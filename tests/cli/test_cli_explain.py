"""`harmony explain`: every figure against the parts themselves."""

from __future__ import annotations

import re

import pytest
import torch

from harmony_parts.assemble import build, read_recipe
from harmony_parts.cli.explain import parameters
from harmony_parts.weights import weights


def test_it_names_parts_settings_and_figures(harmony, recipe):
    result = harmony("explain", recipe)
    assert result.exit_code == 0, result.output
    output = result.output
    for piece in (
        "tiny: As small as it gets.",
        "harmony/gldi  audio_window=0.1",
        "harmony/soundstage",
        "interaction",
        "T_v = 6",
        "T_a = 15",
    ):
        assert piece in output
    assert "joint         3 passes: joint (video and audio), mute (video), static (audio)" in output
    assert "audio-driven  2 passes: joint (video), mute (video)" in output
    assert "video-driven  2 passes: joint (audio), static (audio)" in output


def test_windows_follow_from_the_clocks(harmony, recipe):
    """Latents of 1/12 s that reach 0.1 s further hear what overlaps that span of latents of 1/30 s: brute force over both clocks."""
    parts = build(read_recipe(recipe))
    clocks = parts.codecs["video"].clock(6), parts.codecs["audio"].clock(15)

    def seen(queries: torch.Tensor, keys: torch.Tensor) -> list[int]:
        return [sum(bool(k[0] < q[1] + 0.1 and k[1] > q[0] - 0.1) for k in keys) for q in queries]

    output = harmony("explain", recipe).output
    for stream, verb, sizes, keys in (("video", "hears", seen(*clocks), 15), ("audio", "sees", seen(*clocks[::-1]), 6)):
        assert f"each of {len(sizes)} {stream} latents {verb} {min(sizes)} to {max(sizes)} of {keys}" in output


def test_a_global_interaction_has_no_windows(harmony, recipe):
    for use in ("global", "none"):
        result = harmony("explain", recipe, "--set", f"denoiser.interaction.use={use}")
        assert result.exit_code == 0, result.output
        assert "W = " not in result.output
        assert "none: " in result.output


def test_parameters_are_all_counted_once(recipe):
    parts = build(read_recipe(recipe))
    total = sum(p.numel() for p in weights(parts).parameters())
    lines = parameters(parts)
    assert f"({total:,})" in lines[-1]
    groups = {re.split(r"\s{2,}", line)[0] for line in lines}
    assert groups == {"encoder caption", "encoder voice", "interaction", "video branch", "audio branch", "together"}


@pytest.mark.parametrize(("guidance", "count"), [("none", 1), ("cfg", 2), ("sync-cfg", 3)])
def test_passes_of_other_guidance(harmony, recipe, guidance, count):
    output = harmony("explain", recipe, "--set", f"sample.guidance.use={guidance}").output
    assert f"joint         {count} pass" in output


def test_the_expanded_recipe_is_the_same_recipe(harmony, recipe, tmp_path):
    changed = ("--set", "train.steps=7", "--set", "denoiser.layers=2")
    for flag in ("--full", "--toml"):
        (tmp_path / "expanded.toml").write_text(harmony("explain", recipe, *changed, flag).stdout)
        assert read_recipe(tmp_path / "expanded.toml") == read_recipe(recipe, changed[1::2])


def test_the_shipped_recipe(harmony):
    result = harmony("explain", "demo")
    assert result.exit_code == 0, result.output
    assert "harmony/sampled" in result.output
