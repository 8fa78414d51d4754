"""Model folders: what is loaded is what was saved, and other weights are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers import tiny_training as tiny
from helpers import toy_weights as toys
from safetensors.torch import load_file
from torch import Tensor

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.folder import find_model, load_weights, save_model, saved_modules
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.train.loop import train

SMALL = {
    **toys.RECIPE,
    "denoiser": {
        "use": "dual-branch",
        "layers": 1,
        "video": {"use": "transformer", "width": 32, "heads": 2, "feed": 32, "patch": 2},
        "audio": {"use": "mmdit", "width": 32, "heads": 2, "feed": 32},
    },
}


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """A small model without zero weights."""
    made = Pipeline.assemble(read_recipe(SMALL))
    for parameter in made.weights.parameters():
        parameter.data += 0.05
    return made


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
        "target_group (file: [5], model: [32])",
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
        ("file", "is a file; name the model folder"),
    ):
        with pytest.raises(RunError, match=cause):
            find_model(tmp_path / folder)


def test_small_models_are_one_file_and_large_ones_are_sharded(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """One replaces the other in a folder, and the loaded weights are the saved ones."""
    state, folder = pipeline.weights.state_dict(), tmp_path / "model"
    sizes = {}
    for shard in (60_000, 2**30, 120_000, 60_000):
        save_model(folder, pipeline.recipe, state, shard=shard)
        names = sorted(path.name for path in folder.glob("*.safetensors*"))
        sizes[shard] = len(names)
        if shard == 2**30:
            assert names == ["model.safetensors"]
        else:
            count = len(names) - 1
            assert names == [
                *(f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)),
                "model.safetensors.index.json",
            ]
            where = json.loads((folder / names[-1]).read_text())["weight_map"]
            assert where == {name: file for file in names[:-1] for name in load_file(folder / file)}
        assert toys.same(toys.saved(folder), dict(state))
        loaded = load(folder).weights.state_dict()
        assert toys.same(dict(loaded), dict(state))
    assert sizes[60_000] > sizes[120_000] > 2


def test_types_are_kept_unless_another_is_requested(pipeline: Pipeline, tmp_path: Path) -> None:
    half = {
        name: tensor.to(torch.bfloat16) for name, tensor in pipeline.weights.state_dict().items()
    }
    save_model(tmp_path, pipeline.recipe, half)
    same_type, wide = load(tmp_path), load(tmp_path, dtype=torch.float32)
    assert {p.dtype for p in same_type.weights["denoiser"].parameters()} == {torch.bfloat16}
    assert {p.dtype for p in wide.weights.parameters()} == {torch.float32}
    assert all(
        torch.equal(tensor, half[name].float())
        for name, tensor in wide.weights.state_dict().items()
    )
    assert all(p.requires_grad for p in same_type.weights["denoiser"].parameters())
    counts = {
        **half,
        "denoiser.branches.video.head.modulation": torch.zeros(2, 32, dtype=torch.int64),
    }
    save_model(tmp_path, pipeline.recipe, counts)
    with pytest.raises(
        RunError,
        match=r"of another type: denoiser.branches.video.head.modulation \(file: torch.int64",
    ):
        load(tmp_path)


def test_a_missing_shard_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    save_model(tmp_path, pipeline.recipe, pipeline.weights.state_dict(), shard=100_000)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert find_model(tmp_path) == tmp_path
    shards[1].write_bytes(shards[1].read_bytes()[:-8])
    with pytest.raises(RunError, match=rf"{shards[1].name}: can't be read"):
        load(tmp_path)
    shards[1].unlink()
    with pytest.raises(
        RunError, match=rf"of {len(shards)} shards these are missing: {shards[1].name}"
    ):
        load(tmp_path)
