"""The codecs' work for anchors, against the calls of a real run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.saved_model import RECIPE

import harmony_parts as hp
from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.cost.account import account
from harmony_parts.tasks.protocol import TASKS

CHANGES = {
    "exact": (),
    "repeated latent": (
        "sample.guidance.static.use=static",
        "sample.guidance.static.repeat=latent",
        "codecs.video.frames_per_latent=1",
    ),
    "refresh": ("sample.guidance.static.use=refresh", "sample.guidance.static.every=2"),
    "euler": ("sample.solver=euler",),
}


@pytest.mark.parametrize("change", CHANGES)
def test_calls_are_those_of_a_real_run(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all tasks, with Heun's two velocities a step; its last step has one fewer."""
    recipe = read_recipe(RECIPE, CHANGES[change])
    counted = account(recipe, build(recipe, empty=("codecs", "encoders", "denoiser"))).anchors
    pipeline = hp.Pipeline.assemble(recipe)
    calls: list[str] = []
    for stream in pipeline.codecs:
        codec: Any = type(pipeline.codecs[stream])
        for method in ("encode", "decode"):
            run = getattr(codec, method)
            monkeypatch.setattr(
                codec,
                method,
                lambda self, x, run=run, method=method: calls.append(method) or run(self, x),
            )
    random = torch.Generator().manual_seed(0)
    shapes = pipeline.parts.lengths()
    for task, given in TASKS.items():
        latents = pipeline.codecs.map(
            lambda codec, n: torch.randn(
                1, n, *getattr(codec, "grid", ()), codec.channels, generator=random
            ),
            shapes,
        )
        calls.clear()
        pipeline.latents([hp.Prompt("a ball")], seeds=[0], given=latents.only(given))
        last = 2 if (task, change) == ("joint", "exact") else 0  # one decoding and one encoding
        assert counted[task].calls == len(calls) + last, task
