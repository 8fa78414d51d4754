"""Negative prompts: another prompt in the place of the null form, for every pass that drops text.

The model is untrained, but no weight of it is zero, so each text changes what it predicts.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import torch
from harmony_apg.apg import APG
from helpers import tiny_training as tiny
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import AV, Condition, Prompt
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.latents.conditions import conditions_of
from harmony_parts.testing.contracts.tested import perturbed

SHORT, LONG = "a ball", "a blurred wall, out of focus"
TEXTS = ("caption", "sound")
DROPS = [CFG(3, 2), SyncCFG(3, 2, drop=TEXTS), APG(3, 2)]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    fresh = Pipeline.assemble(tiny.recipe())
    perturbed(fresh.weights)
    return fresh


def latents(pipeline: Pipeline, guidance: Guidance, *prompts: Prompt, steps: int = 2) -> AV[Any]:
    return pipeline.latents(
        prompts, seeds=range(len(prompts)), guidance=guidance, steps=steps, frames=8
    )


def near(one: AV[Any], other: AV[Any], tolerance: float = 1e-4) -> bool:
    return all(torch.allclose(one[s], other[s], rtol=0, atol=tolerance) for s in one)


@pytest.mark.parametrize(("text", "negative"), [(SHORT, LONG), (LONG, SHORT)])
def test_cfg_goes_away_from_the_negative(pipeline: Pipeline, text: str, negative: str) -> None:
    """A step of Euler from time 1 to 0 is linear in the velocity: x = n - v. Lengths differ."""
    seen = latents(pipeline, NoGuidance(), Prompt(text, text), steps=1)
    unseen = latents(pipeline, NoGuidance(), Prompt(negative, negative), steps=1)
    prompt = Prompt(text, text, negative=Prompt(negative, negative))
    guided = latents(pipeline, CFG(3, 2), prompt, steps=1)
    want = unseen.map(lambda n, p, s: torch.lerp(n, p, s), seen, AV(3.0, 2.0))
    assert near(guided, want)
    assert not near(seen, unseen, 1e-2)


@pytest.mark.parametrize("off", [CFG(0, 0), APG(0, 0, parallel=1, bound=0, momentum=0)], ids=repr)
def test_at_a_scale_of_0_the_negative_is_what_is_seen(pipeline: Pipeline, off: Guidance) -> None:
    prompt = Prompt(SHORT, SHORT, negative=Prompt(LONG, LONG))
    assert near(latents(pipeline, off, prompt), latents(pipeline, NoGuidance(), Prompt(LONG, LONG)))


def test_sync_cfg_uses_the_negative_in_the_pass_with_its_anchor(pipeline: Pipeline) -> None:
    """The mute one: the static one is made of the estimate, which the prompt changes."""
    prompt = Prompt(SHORT, SHORT, negative=Prompt(LONG, LONG))
    dropped = latents(pipeline, SyncCFG(0, 1, drop=TEXTS), prompt, steps=1)
    other = latents(pipeline, SyncCFG(0, 1), Prompt(LONG, LONG), steps=1)
    assert near(dropped.only(("video",)), other.only(("video",)))


@pytest.mark.parametrize("guidance", DROPS, ids=repr)
def test_a_negative_changes_the_clip_and_an_empty_one_does_not(
    pipeline: Pipeline, guidance: Guidance
) -> None:
    plain = latents(pipeline, guidance, Prompt(SHORT, SHORT))
    empty = latents(pipeline, guidance, Prompt(SHORT, SHORT, negative=Prompt("", "")))
    assert all(torch.equal(plain[s], empty[s]) for s in plain)
    for negative in (Prompt(LONG), Prompt(sound=LONG)):
        assert not near(latents(pipeline, guidance, Prompt(SHORT, SHORT, negative=negative)), plain)


def test_each_clip_of_a_batch_has_its_own(pipeline: Pipeline) -> None:
    prompts = [Prompt(SHORT, negative=Prompt(LONG)), Prompt(LONG), Prompt(negative=Prompt("x"))]
    together = latents(pipeline, CFG(), *prompts)
    for row, prompt in enumerate(prompts):
        alone = pipeline.latents([prompt], seeds=[row], guidance=CFG(), steps=2, frames=8)
        assert near(alone, together.map(lambda x: x[row : row + 1]), 1e-3)  # noqa: B023


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_shorter_one_is_padded_outside_its_mask(own: int, other: int) -> None:
    def made(length: int) -> Condition:
        return Condition(torch.randn(2, length, 3), torch.ones(2, length, dtype=torch.bool))

    one, null = made(own), made(other)
    both = one.with_null(null)
    assert both.null is not None
    assert both.tokens.shape == both.null.tokens.shape == (2, max(own, other), 3)
    for padded, before in ((both, one), (both.null, null)):
        assert torch.equal(padded.tokens[padded.mask], before.tokens[before.mask])
        assert padded.mask.sum() == before.mask.sum()


def test_what_a_negative_does_not_say_keeps_the_encoders_own_null_form() -> None:
    class Own(torch.nn.Module):
        """Lengths of texts; without one, that of its default negative."""

        produces = dict.fromkeys(TEXTS, 1)

        def forward(self, prompts: list[Prompt]) -> dict[str, Condition]:
            def of(texts: list[str | None]) -> Condition:
                sizes = torch.tensor([float(len(text or "worst quality")) for text in texts])
                return Condition(sizes[:, None, None], torch.ones(len(texts), 1) > 0)

            null = [None] * len(prompts)
            return {
                name: of([getattr(prompt, name) for prompt in prompts]).with_null(of(null))
                for name in TEXTS
            }

    prompts = [Prompt("seen", negative=Prompt("blur")), Prompt("seen")]
    made = conditions_of([Own()], prompts)
    assert [made[name].null.tokens.flatten().tolist() for name in TEXTS] == [[4, 13], [13, 13]]


def test_a_negative_without_effect_is_warned_of_where_it_was_written(pipeline: Pipeline) -> None:
    def warned(**arguments: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pipeline.generate(SHORT, steps=1, **arguments)
        assert {warning.filename for warning in caught} <= {__file__}
        return [str(warning.message) for warning in caught]

    (line,) = warned(negative=LONG, guidance=SyncCFG())
    assert line.startswith("SyncCFG drops none of the model's conditions, so the negative has no")
    assert line.endswith("name them in its `drop`, or take CFG")
    assert len(warned(negative=LONG)) == 1  # the recipe has no guidance
    assert not warned(negative=LONG, negative_sound=LONG, guidance=CFG())


def test_the_command_line_and_batch_files_take_them(harmony, trained, tmp_path) -> None:
    """The tiny recipe of the command line has no encoder of "sound", which is warned of."""
    batch = tmp_path / "b.csv"
    batch.write_text('name,negative\nown,"grey, dull"\ndefault,\n')
    options = ("--negative", "blurry", "--negative-sound", "noise", "--guidance", "cfg")
    result = harmony(
        "generate", trained, "--prompt", "a ball", "--batch", batch, *options, "--out", tmp_path
    )
    assert result.exit_code == 0, result.output
    assert "no encoder that reads negative_sound" in result.stderr
    for name, negative in (("own", "grey, dull"), ("default", "blurry")):
        origin = json.loads((tmp_path / f"{name}.mp4.json").read_text())
        assert origin["negative"] == negative
        assert origin["negative_sound"] == "noise"
