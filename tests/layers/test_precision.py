"""TF32: a setting of the process that a run makes for itself and takes back."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.assembly.read import read_recipe
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.layers.precision import float32_products
from harmony_parts.train.loop import train


def now() -> tuple[str, ...]:
    """How matrix products, convolutions and recurrent layers are computed."""
    backends = torch.backends
    return tuple(
        each.fp32_precision
        for each in (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    )


@pytest.mark.parametrize("tf32", [False, True])
def test_products_are_as_set_within_the_block_only(tf32: bool) -> None:
    """Convolutions too, whose default in torch is TF32; nested, and after an error."""
    before = now()
    with float32_products(tf32=tf32):
        assert set(now()) == {"tf32" if tf32 else "ieee"}
        with contextlib.suppress(ZeroDivisionError), float32_products(tf32=not tf32):
            assert set(now()) == {"ieee" if tf32 else "tf32"}
            raise ZeroDivisionError
        assert set(now()) == {"tf32" if tf32 else "ieee"}
    assert now() == before


@pytest.mark.parametrize("tf32", [False, True])
def test_every_part_of_a_pipeline_computes_as_set(
    tf32: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoders, codecs and the denoiser: recorded when they are called."""
    small = ("sample.steps=1", "format.seconds=0.5", "codecs.audio.iterations=1")
    pipeline = Pipeline.assemble(read_recipe("demo", small)).to("cpu", tf32=tf32)
    seen: dict[str, set[str]] = {}

    def record(owner: type, name: str, what: str) -> None:
        own = getattr(owner, name)

        def recorded(*args: object, **more: object) -> object:
            seen.setdefault(what, set()).update(now())
            return own(*args, **more)

        monkeypatch.setattr(owner, name, recorded)

    for stream in ("video", "audio"):
        for name in ("encode", "decode"):
            record(type(pipeline.codecs[stream]), name, f"{stream} {name}")
    for name, encoder in pipeline.parts.encoders.items():
        record(type(encoder), "forward", name)
    record(type(pipeline.parts.denoiser), "forward", "denoiser")
    clip = pipeline.recipe.data.build(format=pipeline.format).example(0, torch.Generator()).clip
    before = now()
    pipeline.generate("a ball", audio=clip)
    pipeline.generate("a ball", video=clip)
    assert now() == before
    assert seen.keys() >= {"denoiser", "video encode", "video decode", "audio encode", "caption"}
    assert {what: used for what, used in seen.items() if used != {"tf32" if tf32 else "ieee"}} == {}


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "tf32"])
def test_training_computes_exactly_unless_its_recipe_has_tf32(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    own = torch.optim.AdamW.step

    def step(*args: object, **more: object) -> object:
        seen.update(now())
        return own(*args, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    before = now()
    train(
        tiny.recipe(steps=1, precision=precision),
        out=tmp_path / "run",
        progress=False,
        device="cpu",
    )
    assert seen == {"tf32" if precision == "tf32" else "ieee"}
    assert now() == before
