"""LTX-2 on a small GPU: weights are moved there only while they are used, and memory is counted."""

from __future__ import annotations

import attrs
import ltx2_toys as toys
import pytest
import torch

from harmony_diffusers.ltx2_audio import LTX2Audio
from harmony_ltx2.denoiser import LTX2
from harmony_ltx2.recipe import ltx2_recipe
from harmony_ltx2.video import LTX2Video
from harmony_parts.assembly.build import build
from harmony_parts.assembly.recipe import Codecs, Recipe
from harmony_parts.cost.account import account
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.offload import external_modules, layers_of, resident_bytes


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """The shipped recipe with tiny random models."""
    read = ltx2_recipe(overrides=["sample.steps=2"])
    return attrs.evolve(
        read,
        format=toys.FORMAT,
        codecs=Codecs(
            LTX2Video(config=toys.VIDEO), LTX2Audio(config=toys.AUDIO, vocoder_config=toys.VOCODER)
        ),
        encoders=read.encoders | {"text": toys.text()},
        denoiser=LTX2(config=toys.TRANSFORMER, precision="float32"),
    )


def test_offloaded_clips_are_bitwise_equal(recipe):
    """By parts and by layers; afterwards every weight is back in its place."""
    pipeline = Pipeline.assemble(recipe)
    models = [model for part in pipeline.parts.each() for model in external_modules(part)]
    before = [x.data_ptr() for model in models for x in model.parameters()]
    want = pipeline.generate("rain", seed=1).clip
    for offload in ("parts", "layers"):
        clip = pipeline.to("cpu", offload=offload).generate("rain", seed=1).clip
        assert torch.equal(clip.frames, want.frames)
        assert torch.equal(clip.waveform, want.waveform)
        assert [x.data_ptr() for model in models for x in model.parameters()] == before


def test_the_layers_of_its_models_are_found(recipe):
    """The transformer's blocks, and the layers of Gemma, its vision tower and the connectors."""
    parts = build(recipe)
    assert {type(layer).__name__ for layer in layers_of(parts.denoiser)} == {
        "LTX2VideoTransformerBlock"
    }
    assert "Gemma3DecoderLayer" in {
        type(layer).__name__ for layer in layers_of(parts.encoders["text"])
    }


def test_weights_and_peak_memory_are_counted(recipe):
    """No weight is trained; the peak is that of offloading by parts."""
    parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
    held = sum(
        x.nbytes
        for part in parts.each()
        for model in external_modules(part)
        for x in model.parameters()
    )
    counted = account(recipe, parts)
    assert (counted.weights_bytes, counted.frozen_bytes, counted.training) == (0, held, {})
    assert counted.inference_bytes() == held + counted.activations
    whole = resident_bytes(parts.denoiser, "parts") + counted.activations
    assert counted.offloaded["parts"] == whole + max(
        resident_bytes(parts.codecs[s], "parts") for s in parts.codecs
    )
