"""LoRA over a frozen LTX-2: the recipe that ships trains the driven tasks with adapters."""

from __future__ import annotations

import torch
from ltx2_toys import QUICK, SMALL

from harmony_ltx2.recipe import ltx2_recipe
from harmony_parts.assembly.read import write_recipe
from harmony_parts.av import Prompt, Times
from harmony_parts.generate.load import load
from harmony_parts.models.lora import ADAPTERS
from harmony_parts.models.saved_tensors import meta_tensors
from harmony_parts.train.loop import train

TINY = ["train.steps=2", "train.batch=2", "train.prepared=2", "data.use=soundstage", "data.size=2"]
RATE = ["train.trainable.rank=2", "train.optimizer.learning_rate=0.05", "train.schedule.warmup=0"]


def velocities(pipeline):
    """Of noise at time 0.5 in both streams."""
    noise = torch.Generator().manual_seed(0)
    av = pipeline.shapes(pipeline.format.frames).map(
        lambda shape: torch.randn(1, *shape, generator=noise)
    )
    times = av.map(lambda x: Times.uniform(torch.full((1,), 0.5), x.shape[1]))
    with torch.no_grad():
        conditions = pipeline.conditions([Prompt(caption="a ball", sound="a knock")])
        found = pipeline.parts.denoiser(av, times, conditions)
    return {stream: found[stream] for stream in found}


def test_adapters_of_ltx2_train_and_merge(model, tmp_path):
    recipe = ltx2_recipe(str(model), [*SMALL, *QUICK, *TINY, *RATE])
    assert {term.task.__class__.__name__ for term in recipe.task.terms} == {
        "Joint",
        "AudioDriven",
        "VideoDriven",
    }
    run = train(recipe, out=tmp_path / "run", progress=False, device="cpu")
    names = meta_tensors(run / ADAPTERS)
    assert all(name.startswith("base_model.model.external.0.") for name in names)
    (tmp_path / "ltx2.toml").write_text(write_recipe(recipe))
    plain, adapted = load(tmp_path / "ltx2.toml"), load(tmp_path / "ltx2.toml", lora=run)
    layers = [
        module
        for path, module in plain.parts.denoiser.external_modules[0].named_modules()
        if isinstance(module, torch.nn.Linear)
        and path.endswith(("to_q", "to_k", "to_v", "to_out.0"))
    ]
    assert sum(x.numel() for x in names.values()) == sum(
        2 * (layer.in_features + layer.out_features) for layer in layers
    )
    one, two = velocities(plain), velocities(adapted)
    merged = velocities(adapted.merge_lora())
    for stream, result in merged.items():
        assert (two[stream] - result).abs().max() < 1e-6 * max(1.0, float(result.abs().max()))
        assert (one[stream] - result).abs().max() > 1e-5
