"""Adapters in files, on models of this library and on converted ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers import tiny_training as tiny
from safetensors.torch import save_file

from harmony_parts.cli.main import cli
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.models.folder import saved_modules
from harmony_parts.models.lora import ADAPTERS, CONFIG, load_adapters, merge_adapters
from harmony_parts.models.saved_tensors import meta_tensors
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.train.loop import train
from harmony_parts.trainable.lora import LoRA

RANK = 2
REQUEST: dict[str, Any] = {"prompt": "a red ball bounces", "sound": "thuds", "seed": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(model, run of a LoRA on its audio branch)."""
    place = tmp_path_factory.mktemp("lora")
    base = train(tiny.recipe(steps=1), out=place / "base", progress=False, device="cpu")
    spec = LoRA(rank=RANK, alpha=4.0, modules=("denoiser.blocks.*.audio.*",))
    recipe = tiny.recipe(steps=3, trainable=spec, learning_rate=0.05, warmup=0, ema=0.0)
    train(recipe, out=place / "run", start=base, progress=False, device="cpu")
    return base, place / "run"


def test_the_file_holds_the_adapters_alone(trained: tuple[Path, Path]) -> None:
    """r (in + out) float32 numbers for each adapted layer, and nothing else."""
    base, run = trained
    layers = {
        name.removesuffix(".weight"): shape
        for name, shape in (
            (name, list(x.shape)) for name, x in load_tensors(base / "model.safetensors").items()
        )
        if re.fullmatch(r"denoiser\.blocks\.\d+\.audio\..*\.weight", name)
        and len(shape) == 2
        and "norm" not in name
    }
    file = run / "lora" / ADAPTERS
    shapes = {name: list(x.shape) for name, x in meta_tensors(file).items()}
    assert shapes == {
        f"base_model.model.{path}.{factor}.weight": size
        for path, (width, source) in layers.items()
        for factor, size in (("lora_A", [RANK, source]), ("lora_B", [width, RANK]))
    }
    numbers = sum(RANK * (source + width) for width, source in layers.values())
    header = int.from_bytes(file.read_bytes()[:8], "little")
    assert file.stat().st_size == 4 * numbers + 8 + header
    config = json.loads((run / "lora" / CONFIG).read_text())
    assert (config["r"], config["lora_alpha"]) == (RANK, 4.0)
    assert config["target_modules"] == sorted(layers)
    assert not (run / "model").exists()


def test_merged_equals_unmerged_in_a_whole_model(trained: tuple[Path, Path]) -> None:
    """And both differ from the base; the video branch's layers have no adapters."""
    base, run = trained
    plain, adapted, merged = load(base), load(base, lora=run), load(base, lora=run).merge_lora()
    assert saved_modules(plain.parts).state_dict().keys() == merged.weights.state_dict().keys()
    noise = torch.Generator().manual_seed(3)
    given = plain.conditions([plain_prompt()])
    latents = {s: torch.randn(1, *plain.shapes(8)[s], generator=noise) for s in ("video", "audio")}
    outputs = [velocity(p, latents, given) for p in (plain, adapted, merged)]
    for stream in ("video", "audio"):
        one, two, three = (output[stream] for output in outputs)
        assert (two - three).abs().max() < 1e-6 * max(1.0, float(three.abs().max()))
        assert not torch.equal(one, two) or stream == "video"
    assert (outputs[0]["audio"] - outputs[1]["audio"]).abs().max() > 1e-4


def plain_prompt() -> Any:
    from harmony_parts.av import Prompt

    return Prompt(caption="a red ball", sound="thuds")


def velocity(pipeline: Any, latents: dict[str, Any], conditions: Any) -> Any:
    from harmony_parts.av import AV, Times

    av = AV(**latents)
    times = av.map(lambda x: Times.uniform(torch.full((1,), 0.5), x.shape[1]))
    with torch.no_grad():
        return pipeline.parts.denoiser(av, times, conditions)


def test_a_saved_pipeline_has_the_adapters_merged(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    base, run = trained
    saved = load(load(base, lora=run).save(tmp_path / "merged"))
    clip = load(base, lora=run).merge_lora().generate(**REQUEST).clip
    again = saved.generate(**REQUEST).clip
    assert torch.equal(clip.frames, again.frames)  # type: ignore[arg-type]
    assert torch.equal(clip.waveform, again.waveform)  # type: ignore[arg-type]


def test_generate_takes_a_lora(trained: tuple[Path, Path], tmp_path: Path) -> None:
    base, run = trained
    words = ["generate", str(base), "--prompt", "a ball", "--device", "cpu", "--lora", str(run)]
    done = CliRunner().invoke(cli, [*words, "--out", str(tmp_path / "a.mp4")])
    assert done.exit_code == 0, done.output
    weights = json.loads((tmp_path / "a.mp4.json").read_text())["model"]["weights"]
    assert weights.count("-") == 1  # the model's hash and the adapters'


def test_a_lora_resumes_bit_equal(trained: tuple[Path, Path], tmp_path: Path) -> None:
    spec = LoRA(rank=1, modules=("denoiser.blocks.*.audio.*",))
    whole, part = tiny.recipe(steps=4, trainable=spec), tiny.recipe(steps=2, trainable=spec)
    straight = train(whole, out=tmp_path / "straight", progress=False, device="cpu")
    train(part, out=tmp_path / "cut", progress=False, device="cpu")
    resumed = train(whole, out=tmp_path / "cut", resume=True, progress=False, device="cpu")
    one, other = (load_tensors(folder / ADAPTERS) for folder in (straight, resumed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_adapters_of_another_model_are_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    parts = load(trained[0]).parts
    path = "denoiser.blocks.0.audio.attention.q"
    pair = {f"lora_{x}": torch.zeros(s) for x, s in (("A", (1, 32)), ("B", (32, 1)))}

    def file(names: dict[str, torch.Tensor]) -> Path:
        save_file(names, tmp_path / "x.safetensors")
        return tmp_path / "x.safetensors"

    def named(where: str) -> dict[str, torch.Tensor]:
        return {f"base_model.model.{where}.{x}.weight": t for x, t in pair.items()}

    for names, cause in (
        (named("denoiser.blocks.9.audio.attention.q"), r"adapts .*blocks\.9.*did you mean"),
        ({"q.down": pair["lora_A"]}, "isn't an adapter"),
        (dict([next(iter(named(path).items()))]), "lacks a factor"),
        ({n: torch.zeros(3, 3) for n in named(path)}, "is adapted from 3 to 3"),
    ):
        with pytest.raises(RunError, match=cause):
            load_adapters(parts, file(names))
    with pytest.raises(RunError, match="no adapters"):
        load_adapters(parts, tmp_path)
    assert merge_adapters(parts) == 0  # a refused file attaches nothing
    assert load_adapters(parts, file(named(path))) == 1


def test_adapters_of_fresh_weights_warn(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """The model that they change isn't saved, so they could never be used."""
    made = train(tiny.recipe(steps=1), out=tmp_path / "base", progress=False, device="cpu")
    recipe = tiny.recipe(steps=1, trainable=LoRA(rank=RANK))
    train(recipe, out=tmp_path / "run", start=made, progress=False, device="cpu")
    assert not [each for each in recwarn if "--start" in str(each.message)]
    with pytest.warns(UserWarning, match="the adapters change fresh weights"):
        train(recipe, out=tmp_path / "other", progress=False, device="cpu")
