"""A small model with a learned codec that ships with the library, in a folder of the tests."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from safetensors.torch import save_file

import harmony_parts.codecs.shipped
from harmony_parts.assembly.read import read_recipe
from harmony_parts.codecs.conv_video import ConvVideo
from harmony_parts.generate.pipeline import Pipeline

NAME = "toy-model"


def make_model(folder: Path) -> Path:
    """A model folder: the demo's recipe with one layer and a learned codec, and random weights."""
    codec = folder.parent / f"{folder.name}-codec.safetensors"
    codec.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(ConvVideo(width=8).network().state_dict(), codec)
    recipe = read_recipe("demo", ["denoiser.layers=1"])
    video = ConvVideo(weights=str(codec), width=8)
    recipe = attrs.evolve(recipe, codecs=attrs.evolve(recipe.codecs, video=video))
    pipeline = Pipeline.assemble(recipe)
    generator = torch.Generator().manual_seed(0)
    for weight in pipeline.weights.parameters():  # those that begin at zero too
        weight.data += 0.02 * torch.randn(weight.shape, generator=generator)
    pipeline.save(folder)
    codec.unlink()
    return folder


@pytest.fixture
def shipped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the model NAME, the only one that ships."""
    package = tmp_path_factory.mktemp("package")
    monkeypatch.setattr(harmony_parts.codecs.shipped, "SHIPPED", package)
    return make_model(package / NAME)
