"""Micro-batches, precision, the losses of the log, and held-out clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.assembly.recipe import HeldOut, Recipe
from harmony_parts.av import AV, Times
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.tasks.protocol import Plan
from harmony_parts.train.log_means import LogMeans
from harmony_parts.train.loop import train
from harmony_parts.train.step import draw_batch, micro_batches, train_step


def steps(recipe: Recipe, out: Path, count: int = 3) -> tuple[list[float], dict[str, Any], Any]:
    """Losses, weights and the state after some steps."""
    with torch.random.fork_rng(devices=[]):
        state, data = tiny.begin(recipe, out)
        losses = [train_step(state, draw_batch(state, data.batches), recipe) for _ in range(count)]
    return losses, dict(state.modules.named_parameters()), state


@pytest.mark.parametrize("size", [1, 2, 3])
def test_micro_batches_give_the_loss_and_the_gradient_of_the_whole_batch(
    size: int, tmp_path: Path
) -> None:
    """Batch 5, trainable encoders, all three tasks, dropped conditions: losses to 1e-6."""
    whole = steps(tiny.recipe(batch=5), tmp_path / "whole", 1)
    parts = steps(tiny.recipe(batch=5, micro_batch=size), tmp_path / "parts", 1)
    assert parts[0] == pytest.approx(whole[0], rel=1e-6)
    for name, p in whole[1].items():
        other = parts[1][name]
        if p.grad is not None:
            scale = float(p.grad.abs().max()) + 1e-3
            assert (p.grad - other.grad).abs().max() < 1e-5 * scale, name
    ours, theirs = (state.means.record(1)["losses"] for *_, state in (parts, whole))
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_a_micro_batch_of_the_whole_batch_is_bit_equal(tmp_path: Path) -> None:
    whole = steps(tiny.recipe(), tmp_path / "whole")
    same = steps(tiny.recipe(micro_batch=3), tmp_path / "same")
    assert whole[0] == same[0]
    assert all(torch.equal(whole[1][name], same[1][name]) for name in whole[1])


def test_micro_batches_cover_the_batch_in_order(tmp_path: Path) -> None:
    state, data = tiny.begin(tiny.recipe(batch=5), tmp_path)
    batch = draw_batch(state, data.batches)
    parts = list(micro_batches(batch, 2))
    assert [(part.first, len(part.names), part.total) for part in parts] == [
        (0, 2, 5),
        (2, 2, 5),
        (4, 1, 5),
    ]
    assert sum((part.names for part in parts), ()) == batch.names
    for stream in batch.latents:
        joined = torch.cat([part.latents[stream] for part in parts])
        assert torch.equal(joined, batch.latents[stream])
    for name, condition in batch.conditions.items():
        joined = torch.cat([part.conditions[name].tokens for part in parts])
        assert torch.equal(joined, condition.tokens)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights(tmp_path: Path) -> None:
    """The losses are near those of float32 and not equal; they fall all the same."""
    exact = steps(tiny.recipe(), tmp_path / "exact", 1)
    rough, weights, state = steps(tiny.recipe(precision="bfloat16"), tmp_path / "rough", 1)
    assert rough != exact[0]
    assert rough == pytest.approx(exact[0], rel=0.02)
    assert all(p.dtype == torch.float32 for p in weights.values())
    assert all(p.grad.dtype == torch.float32 for p in weights.values() if p.grad is not None)
    moments = state.optimizer.state_dict()["state"]
    assert all(x.dtype == torch.float32 for values in moments.values() for x in values.values())
    recipe = tiny.recipe(
        precision="bfloat16", batch=2, prepared=2, learning_rate=3e-3, ema=0.0, drop={}
    )
    losses = steps(recipe, tmp_path / "falls", 60)[0]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_log_has_a_loss_for_each_bin_of_times() -> None:
    """By the time of the noisiest latent; entries without weight don't count."""
    means = LogMeans()
    t = torch.tensor([0.1, 0.3, 1.0, 0.9])
    plan = Plan(
        source=torch.arange(4),
        times=AV(Times.uniform(t, 3), Times.uniform(t, 5)),
        weights=AV(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.zeros(4)),
        task=torch.zeros(4, dtype=torch.long),
        names=("any",),
    )
    for factor in (1, 3):
        errors = [factor * e for e in (1.0, 2.0, 4.0, 9.0)]
        means.add_entries(plan, {"video": errors, "audio": errors})
    record = means.record(1)
    assert record["losses"] == {"any.video": pytest.approx(14 / 3)}
    wanted = {"video.0.00-0.25": 2.0, "video.0.25-0.50": 4.0, "video.0.75-1.00": 8.0}
    assert record["losses_by_time"] == wanted


def test_the_held_out_loss_changes_nothing_and_repeats(tmp_path: Path) -> None:
    """Bit-equal weights with and without it; the same numbers when the run is resumed."""
    held_out = HeldOut(Soundstage(size=8, seed=77), clips=5, every=2)
    weights = {}
    for name, held in (("with", held_out), ("without", None)):
        recipe = tiny.recipe(steps=4, held_out=held, log_every=2)
        folder = train(recipe, out=tmp_path / name, progress=False, device="cpu")
        weights[name] = load_tensors(folder / "model.safetensors")
    one, other = weights["with"], weights["without"]
    assert all(torch.equal(one[name], other[name]) for name in one)
    log = [json.loads(x) for x in (tmp_path / "with" / "log.jsonl").read_text().splitlines()]
    names = {"joint.video", "joint.audio", "audio-driven.video", "video-driven.audio"}
    assert [set(line["held_out"]) for line in log] == [names, names]
    assert log[0]["held_out"] != log[1]["held_out"]
    first = tiny.recipe(steps=2, held_out=held_out, log_every=2)
    train(first, out=tmp_path / "cut", progress=False, device="cpu")
    again = tiny.recipe(steps=4, held_out=held_out, log_every=2)
    train(again, out=tmp_path / "cut", resume=True, progress=False, device="cpu")
    cut = [json.loads(x) for x in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    assert [line["held_out"] for line in cut] == [line["held_out"] for line in log]
