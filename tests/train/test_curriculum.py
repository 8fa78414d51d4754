"""Curricula: stages in order, each from the one before, each resumable; the paper's three."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers import tiny_training as tiny
from helpers.prepared import prepare

from harmony_parts.assembly.read import shipped_recipes
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.denoisers.single_branch import AudioOnly
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.sources.mix import Mix, Part
from harmony_parts.sources.shards import Shards
from harmony_parts.tasks.joint import Joint
from harmony_parts.train import curriculum as module
from harmony_parts.train.curriculum import train_curriculum
from harmony_parts.trainable.lora import LoRA

BOTH = Mix((Part(Shards("speech")), Part(Shards("environment"))))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    for seed, name in enumerate(("speech", "environment")):
        prepare(tiny.recipe(), folder / name, clips=4, seed=seed)
    return folder


def stages() -> list[Recipe]:
    """Two of sound alone, and the pair."""
    pair = attrs.evolve(tiny.recipe(steps=2, batch=2), source=BOTH, name="pair")
    sound = attrs.evolve(
        tiny.but(pair, drop={}),
        name="sound",
        codecs=attrs.evolve(pair.codecs, video=None),
        encoders={name: pair.encoders[name] for name in ("sound", "voice")},
        denoiser=AudioOnly(layers=1, audio=pair.denoiser.audio),  # type: ignore[attr-defined]
        task=Joint(),
    )
    return [sound, attrs.evolve(sound, name="voice"), pair]


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_tensors(model / "model.safetensors")


def test_each_stage_begins_where_the_one_before_ended(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in any stage, the same call ends with the same weights."""
    given: dict[str, Any] = {"data_root": root, "progress": False, "device": "cpu"}
    starts, train = [], module.train

    def watched(recipe: Recipe, **more: Any) -> Path:
        starts.append((recipe.name, [Path(s).parent.name for s in more["start"]], more["resume"]))
        if stop and len(starts) == stop:
            raise KeyboardInterrupt
        return train(recipe, **more)

    stop = 0
    monkeypatch.setattr(module, "train", watched)
    straight = weights(train_curriculum(stages(), out=tmp_path / "straight", **given))
    assert starts == [
        ("sound", [], False),
        ("voice", ["1-sound"], False),
        ("pair", ["2-voice"], False),
    ]
    starts.clear()
    stop = 3
    with pytest.raises(KeyboardInterrupt):
        train_curriculum(stages(), out=tmp_path / "stopped", **given)
    starts.clear()
    stop = 0
    resumed = weights(train_curriculum(stages(), out=tmp_path / "stopped", **given))
    assert starts == [("pair", ["2-voice"], False)], "finished stages are left as they are"
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    first = weights(tmp_path / "straight" / "1-sound" / "model")
    second = weights(tmp_path / "straight" / "2-voice" / "model")
    assert first.keys() == second.keys()
    assert not all(torch.equal(first[name], second[name]) for name in first)


def test_adapters_of_a_stage_are_merged_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next stage begins with the whole model; again, nothing is trained anew."""
    whole = tiny.recipe(steps=1, batch=2, drop={}, learning_rate=0.1, warmup=0)
    adapted = tiny.but(attrs.evolve(whole, name="adapted"), trainable=LoRA(rank=2))
    last = tiny.but(attrs.evolve(whole, name="last"), trainable=LoRA(rank=1))
    given: dict[str, Any] = {"progress": False, "device": "cpu"}
    model = train_curriculum([whole, adapted, last], out=tmp_path, **given)
    assert model == tmp_path / "3-last" / "model"
    base, merged = (weights(tmp_path / name / "model") for name in ("1-tiny", "2-adapted"))
    expected = load(tmp_path / "1-tiny", lora=tmp_path / "2-adapted").merge_lora()
    for name, tensor in expected.weights.state_dict().items():
        assert torch.equal(merged[name], tensor), name
    assert base.keys() == merged.keys()
    assert any(not torch.equal(base[name], merged[name]) for name in base)
    begun = (tmp_path / "3-last" / "start.txt").read_text()
    assert begun == f"all weights are those of {tmp_path / '2-adapted' / 'model'}\n"
    monkeypatch.setattr(module, "train", None)
    assert train_curriculum([whole, adapted, last], out=tmp_path, **given) == model


def test_adapters_of_several_models_are_not_merged(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="stage 2 trained adapters, and began from 2 models"):
        module._merge(["a", "b"], tmp_path / "lora", tmp_path / "model", 2)


def test_wrong_curricula_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="at least one recipe"):
        train_curriculum([], out=tmp_path)
    with pytest.raises(RunError, match="there is no stage 4: the curriculum has 3"):
        train_curriculum(stages(), out=tmp_path, also={4: ["model"]})


def paper(name: str) -> dict[str, Any]:
    return tomllib.loads(shipped_recipes()[name].read_text(encoding="utf-8"))


def test_the_papers_numbers() -> None:
    """HARMONY, arXiv:2511.21579: iterations, batches, rates, lengths, data."""
    one, two, three = (paper(n) for n in ("paper/stage-1", "paper/stage-2", "harmony-5b"))
    assert [stage["train"]["steps"] for stage in (one, two, three)] == [100_000, 20_000, 10_000]
    assert [stage["train"]["batch"] for stage in (one, three)] == [1536, 128]
    for stage in (one, two, three):
        assert stage["train"]["optimizer"] == {"use": "adamw", "learning_rate": 1e-5}
        assert stage["train"]["schedule"] == {"use": "constant", "warmup": 0}
        assert stage["flow"]["shift"] == {"use": "constant", "shift": 5.0}
        assert stage["source"] == three["source"]
        parts = stage["source"]["parts"]
        assert [part["source"]["where"] for part in parts] == ["speech", "environment"]
        assert len({part["share"] for part in parts}) == 1
    assert one["format"]["seconds"] == two["format"]["seconds"] == 10


def test_the_stages_fit_each_other() -> None:
    """What stage 3 joins is what stages 1 and 2 trained: one audio branch, its codec and encoders;
    they differ in nothing else that a model is built from.
    """
    one, two, three = (paper(n) for n in ("paper/stage-1", "paper/stage-2", "harmony-5b"))
    for stage in (one, two):
        assert stage["codecs"]["audio"] == three["codecs"]["audio"]
        assert stage["denoiser"]["layers"] == three["denoiser"]["layers"]
        assert stage["denoiser"]["audio"] == three["denoiser"]["audio"]
        for name in ("speech", "voice"):
            assert stage["encoders"][name] == three["encoders"][name]
        text = three["encoders"]["text"]
        assert stage["encoders"]["text"]["use"] == text["use"]
        assert stage["encoders"]["text"]["conditions"]["sound"] == text["conditions"]["sound"]
        for rate in ("fps", "sample_rate"):
            assert stage["format"][rate] == three["format"][rate]
    differ = {key for key in one if one[key] != two[key]} - {"name", "summary", "train"}
    assert differ <= {"data"}, "only the reference audio"


def test_a_changed_recipe_of_a_finished_stage_is_refused(root: Path, tmp_path: Path) -> None:
    """Otherwise the change would be ignored without a word."""
    first, *_ = stages()
    given: dict[str, Any] = {"data_root": root, "progress": False, "device": "cpu"}
    train_curriculum([first], out=tmp_path, **given)
    slower = tiny.but(first, optimizer=attrs.evolve(first.train.optimizer, learning_rate=1e-5))
    with pytest.raises(RunError, match=r"learning_rate: was .*, is now 1e-05"):
        train_curriculum([slower], out=tmp_path, **given)
