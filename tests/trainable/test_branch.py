"""Which weights are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from torch import nn

from harmony_parts.assembly.build import build
from harmony_parts.errors import AssemblyError
from harmony_parts.models.folder import saved_modules
from harmony_parts.testing.contracts import check_trainable
from harmony_parts.train.model import build_model
from harmony_parts.train.step import draw_batch, train_step
from harmony_parts.trainable.branch import Branch
from harmony_parts.trainable.everything import Everything
from harmony_parts.trainable.patterns import matches


@pytest.mark.parametrize("part", [Everything(), Branch(("layers.1", "norm")), Branch(("*.bias",))])
def test_the_parts_meet_their_contract(part: Any) -> None:
    check_trainable(part)


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("denoiser.blocks.3.audio.ffn.0.weight", "denoiser.blocks.*.audio", True),
        ("denoiser.blocks.3.audio.ffn.0.weight", "denoiser.blocks.3", True),
        ("denoiser.blocks.30.audio.ffn.0.weight", "denoiser.blocks.3", False),
        ("denoiser.blocks.3.video.ffn.0.weight", "denoiser.blocks.*.audio", False),
        ("denoiser.blocks.3.audio.q.weight", "*.q", True),
        ("denoiser.blocks.3.audio.k.weight", "*.[qv]", False),
    ],
)
def test_a_pattern_matches_a_path_or_a_module_around_it(
    path: str, pattern: str, expected: bool
) -> None:
    assert matches(path, [pattern]) is expected


def test_the_default_trains_the_audio_branch_and_the_interaction() -> None:
    modules = saved_modules(build(tiny.recipe()))
    Branch().prepare(modules)
    trained = {name for name, p in modules.named_parameters() if p.requires_grad}
    frozen = {name for name, p in modules.named_parameters() if not p.requires_grad}
    assert all(".audio." in name or ".interaction." in name for name in trained)
    assert all(".video." in name or name.startswith("encoders.") for name in frozen)
    assert trained
    assert frozen


def test_a_run_changes_only_what_is_trained(tmp_path: Path) -> None:
    """And a frozen encoder is encoded once: it becomes part of the prepared clips."""
    recipe = tiny.recipe(trainable=Branch(), drop={})
    state, data = tiny.begin(recipe, tmp_path)
    before = {name: p.clone() for name, p in state.modules.named_parameters()}
    for _ in range(2):
        train_step(state, draw_batch(state, data.batches), recipe)
    changed = {
        name for name, p in state.modules.named_parameters() if not torch.equal(p, before[name])
    }
    assert changed <= set(state.trained)
    assert len(changed) > 20
    source: Any = data.batches.source
    assert "caption" in source.conditions
    assert state.ema is not None
    assert state.ema.average.keys() == state.trained.keys()


def test_a_pattern_that_matches_nothing_is_an_error_with_the_names() -> None:
    recipe = tiny.recipe(trainable=Branch(("denoiser.block.*",)))
    cause = r"\$\.train\.trainable: .*'denoiser.block.\*'.*there are denoiser\."
    with pytest.raises(AssemblyError, match=cause):
        build_model(recipe, torch.device("cpu"))
    frozen = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="all weights of this model are frozen"):
        Everything().prepare(frozen)
