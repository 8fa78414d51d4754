"""Parts are built from a recipe: reproducible weights, and errors with their path."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers.toy_parts import TINY, with_toys

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.av import Format
from harmony_parts.errors import AssemblyError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.folder import saved_modules
from harmony_parts.train.loop import train

TOYS = with_toys()


def build_tiny(*overrides: str, seed: int = 0) -> Parts:
    """The parts of the tiny recipe, with overrides."""
    return build(read_recipe(TINY, overrides, parts=TOYS), seed)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Whether two modules have equal weights, bit for bit."""
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


def test_parts_take_their_sizes_from_each_other():
    """Codecs from the format, the denoiser from the conditions of the encoders."""
    parts = build_tiny()
    assert parts.codecs["video"].grid == (4, 4)
    assert set(parts.encoders) == {"caption", "sound"}
    assert set(parts.denoiser.accepts) == {"caption", "sound"}


def test_weights_are_a_function_of_the_seed():
    """The same seed gives the same bits; the global random generator isn't changed."""
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = build_tiny(seed=1), build_tiny(seed=1), build_tiny(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first.denoiser, again.denoiser)
    assert not same(first.denoiser, other.denoiser)
    assert same(first.encoders["caption"], again.encoders["caption"])
    assert not same(first.encoders["caption"], other.encoders["caption"])


def test_exchanging_a_part_does_not_change_the_weights_of_the_others():
    """So an ablation compares parts and not random draws."""
    plain, changed = build_tiny(), build_tiny("encoders.sound.layers=2")
    assert same(plain.encoders["caption"], changed.encoders["caption"])
    assert same(plain.denoiser, changed.denoiser)
    assert not same(plain.encoders["sound"], changed.encoders["sound"])
    assert not same(plain.encoders["caption"], plain.encoders["sound"])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["format.height=33"], "$.codecs.video: "),
        (
            ["encoders.sound.field=caption"],
            "$.encoders.sound: it produces the condition 'caption', which caption also produces",
        ),
        (
            ["train.drop.captoin=0.1"],
            "$.train.drop.captoin: no encoder produces this condition (did you mean 'caption'?)",
        ),
        (
            [
                "denoiser.ports={sound={stream='video', how='clean_tokens'},"
                " caption={stream='video', how='clean_tokens'}}"
            ],
            (
                "$.denoiser.ports: caption and sound would both be the clean tokens of the video"
                " stream"
            ),
        ),
        (
            ["sample.guidance.use=everything", "sample.guidance.hint=louder"],
            "$.sample.guidance: it requests the hint louder; the denoiser supports",
        ),
        *(
            (
                [
                    "sample.guidance.use=everything",
                    "sample.guidance.hint=louder",
                    f"sample.guidance.given={stream}",
                ],
                "$.sample.guidance: it requests the hint louder; the denoiser supports",
            )
            for stream in ("video", "audio")
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_refused_with_their_path(overrides, expected):
    """The error gives the path of the setting to change."""
    with pytest.raises(AssemblyError) as caught:
        build_tiny(*overrides)
    assert any(fault.startswith(expected) for fault in caught.value.faults), caught.value


def test_hints_that_the_denoiser_supports_are_accepted():
    """Each hint of its list, requested by the same guidance."""
    hints = build_tiny().denoiser.hints
    assert {"isolate", "skip-0"} <= hints
    for hint in hints:
        assert (
            build_tiny(
                "sample.guidance.use=everything", f"sample.guidance.hint={hint}"
            ).denoiser.hints
            == hints
        )


@pytest.mark.parametrize("fps", [29.97, "29.97", "2997/100", Fraction(2997, 100)])
def test_a_frame_rate_given_as_a_float_counts_by_its_decimal_digits(fps):
    """As in TOML; the binary float nearest to 29.97 has a denominator of 2^48."""
    assert Format(fps=fps, height=16, width=16, sample_rate=8000, seconds=1.0).fps == Fraction(
        2997, 100
    )


@pytest.mark.parametrize(
    "name",
    ["keys", "items", "type", "train", "float", "training", "_modules", "a.b", "", "2nd", "a\n"],
)
def test_encoder_names_that_no_module_can_have_are_refused(name):
    """When the recipe is made, not later when its weights are saved."""
    recipe = read_recipe("demo")
    with pytest.raises(AssemblyError, match=r"encoders can't be assembled:\n  \$\.") as error:
        attrs.evolve(recipe, encoders={name: recipe.encoders["caption"]})
    assert name in str(error.value)


def test_all_other_encoder_names_can_be_built_and_saved():
    """Including hyphens, Python keywords and names of conditions."""
    recipe = read_recipe("demo", ["denoiser.layers=1"])
    names = dict(zip(recipe.encoders, ("my-text", "class", "_x", "Speech2", "image"), strict=False))
    parts = build(
        attrs.evolve(
            recipe, encoders={names.get(name, name): spec for name, spec in recipe.encoders.items()}
        )
    )
    assert list(saved_modules(parts)["encoders"]) == list(parts.encoders)


@pytest.mark.parametrize(
    "use",
    [build, Pipeline.assemble, partial(train, out="never")],
    ids=["build", "assemble", "train"],
)
def test_a_name_in_place_of_a_recipe_is_refused(use: Any) -> None:
    with pytest.raises(AssemblyError, match=r"expected a Recipe, not 'demo': .*read_recipe"):
        use("demo")
    assert not Path("never").exists()
