"""Model folders: saved weights load into new parts, and those of another model are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import tiny_training as tiny
from torch import Tensor

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import RunError
from harmony_parts.models.folder import find_model, load_weights, save_model, saved_modules
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.train.loop import train


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_model_of_a_run_loads_into_new_parts(tmp_path: Path) -> None:
    recipe, out = tiny.recipe(steps=2), tmp_path / "run"
    model = train(recipe, out=out, progress=False, device="cpu")
    assert find_model(out) == find_model(model) == model == out / "model"
    assert read_recipe(model / "recipe.toml") == recipe
    parts, saved = build(recipe, 99), load_tensors(model / "model.safetensors")
    assert not same(dict(saved_modules(parts).state_dict()), saved)
    load_weights(parts, out)
    assert same(dict(saved_modules(parts).state_dict()), saved)
    card = (model / "README.md").read_text(encoding="utf-8")
    assert f"Parameters: {sum(p.numel() for p in saved_modules(parts).parameters()):,}" in card
    assert "2 steps of 3 clips" in card


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    recipe = tiny.recipe()
    parts = build(recipe, 0)
    state = dict(saved_modules(parts).state_dict())
    del state["denoiser.branches.audio.reference_group"]
    state["denoiser.more"] = torch.zeros(1)
    state["denoiser.branches.audio.target_group"] = torch.zeros(5)
    save_model(tmp_path / "model", recipe, state)
    with pytest.raises(RunError) as raised:
        load_weights(parts, tmp_path / "model")
    for part in (
        "missing: denoiser.branches.audio.reference_group",
        "not in this model: denoiser.more",
        "target_group (there [5], here [32])",
    ):
        assert part in str(raised.value)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match=r"model\.safetensors: can't be read"):
        load_weights(parts, tmp_path / "model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for folder, cause in (
        ("empty", "neither a model"),
        ("absent", "no such folder"),
        ("file", "is a file; name the model's folder"),
    ):
        with pytest.raises(RunError, match=cause):
            find_model(tmp_path / folder)
