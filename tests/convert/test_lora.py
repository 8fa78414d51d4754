"""LoRA over converted weights of Wan and Ovi, frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers import toy_weights as toys

from harmony_parts.assembly.read import read_recipe
from harmony_parts.av import Prompt, Times
from harmony_parts.convert.forward import convert
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.lora import ADAPTERS
from harmony_parts.models.saved_tensors import meta_tensors
from harmony_parts.tasks.sampled import Sampled
from harmony_parts.train.loop import train
from harmony_parts.trainable.lora import LoRA


def velocities(pipeline: Pipeline) -> dict[str, torch.Tensor]:
    """Of noise at time 0.5."""
    noise = torch.Generator().manual_seed(0)
    av: Any = pipeline.shapes(pipeline.format.frames).map(
        lambda shape: torch.randn(1, *shape, generator=noise)
    )
    times = av.map(lambda x: Times.uniform(torch.full((1,), 0.5), x.shape[1]))
    with torch.no_grad():
        conditions = pipeline.conditions([Prompt(caption="a ball", sound="a knock")])
        found = pipeline.parts.denoiser(av, times, conditions)
    return {stream: found[stream] for stream in found}


@pytest.mark.parametrize("kind", ["ovi", "wan"])
def test_a_lora_of_a_converted_model(kind: str, files: toys.Files, tmp_path: Path) -> None:
    """Trained on the driven tasks; its size as counted; merged equals unmerged to 1e-6."""
    if kind == "ovi":
        source, recipe, configs = files.ovi, toys.RECIPE, files.configs
    else:
        source, recipe, configs = files.wan, toys.WAN_RECIPE, [files.wan_config]
    convert(kind, source, tmp_path / "base", configs=configs, recipe=recipe)
    base = read_recipe(tmp_path / "base" / "recipe.toml")
    spec = LoRA(rank=2, alpha=8.0)
    settings = attrs.evolve(base.train, steps=2, trainable=spec)
    assert kind == "wan" or isinstance(base.task, Sampled)  # joint and driven
    run = train(
        attrs.evolve(base, train=settings),
        out=tmp_path / "run",
        start=tmp_path / "base",
        progress=False,
        device="cpu",
    )
    plain, adapted = load(tmp_path / "base"), load(tmp_path / "base", lora=run)
    adapters = meta_tensors(run / ADAPTERS)
    linear = [
        module
        for path, module in plain.weights.named_modules()
        if isinstance(module, torch.nn.Linear) and path.rpartition(".")[2] in "qkvo"
    ]
    numbers = sum(2 * (layer.in_features + layer.out_features) for layer in linear)
    assert sum(x.numel() for x in adapters.values()) == numbers > 0
    one, two = velocities(plain), velocities(adapted)
    merged = velocities(adapted.merge_lora())
    for stream, result in merged.items():
        assert (two[stream] - result).abs().max() < 1e-6 * max(1.0, float(result.abs().max()))
        assert not torch.equal(one[stream], two[stream])
