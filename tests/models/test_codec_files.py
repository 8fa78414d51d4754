"""A model's folder has the weights of its learned codec: it can be moved without them."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from safetensors.torch import save_file

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.codecs.conv_video import ConvVideo
from harmony_parts.errors import AssemblyError
from harmony_parts.generate.load import load
from harmony_parts.models.folder import save_model, saved_modules
from harmony_parts.models.saved_parts import saved_recipe


def fresh(file: Path, seed: int) -> str:
    """The name of a file with random weights of a codec."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_file(ConvVideo(width=8).network().state_dict(), file)
    return str(file)


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A model's folder, whose codec came from a file that is gone, and latents of that codec."""
    weights = fresh(tmp_path / "codec.safetensors", 0)
    spec = ConvVideo(weights=weights, width=8)
    recipe = read_recipe("demo", ["denoiser.layers=1"])
    recipe = attrs.evolve(recipe, codecs=attrs.evolve(recipe.codecs, video=spec))
    parts = build(recipe)
    folder = save_model(tmp_path / "model", recipe, saved_modules(parts).state_dict())
    latents = parts.codecs.video.encode(frames())
    Path(weights).unlink()
    return folder, latents


def frames() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (1, 5, 16, 16, 3), dtype=torch.uint8, generator=generator)


def test_a_model_can_be_moved(model: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    folder, latents = model
    moved = folder.rename(tmp_path / "elsewhere")
    assert torch.equal(load(moved).parts.codecs.video.encode(frames()), latents)


def test_its_own_file_comes_first(model: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    """Even if another lies where the recipe points."""
    folder, latents = model
    fresh(tmp_path / "codec.safetensors", 1)
    assert torch.equal(load(folder).parts.codecs.video.encode(frames()), latents)
    assert saved_recipe(folder).codecs.video.weights == str(folder / "codec-video.safetensors")


def test_without_any_file_the_error_names_the_recipes(model: tuple[Path, torch.Tensor]) -> None:
    (model[0] / "codec-video.safetensors").unlink()
    with pytest.raises(AssemblyError, match=r"\$.codecs.video: there is no file .*codec.saf"):
        load(model[0])
