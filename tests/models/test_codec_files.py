"""A model's folder has the weights of its learned codec: it can be moved without them."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest
import torch
from safetensors.torch import save_file

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.codecs.conv_video import ConvVideo
from harmony_parts.errors import AssemblyError, RunError
from harmony_parts.generate.load import load
from harmony_parts.generate.other_models import OtherModels
from harmony_parts.generate.provenance import recipe_hash
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
    assert str(tmp_path) not in (moved / "recipe.toml").read_text(), "it names no path"
    again = load(moved).save(tmp_path / "copy")
    assert (again / "recipe.toml").read_text() == (moved / "recipe.toml").read_text()


def test_copies_are_the_same_model(model: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    """For provenance and for guidance by another model; another codec's weights are another."""
    folder, _ = model
    first, second = (
        saved_recipe(place) for place in (folder, shutil.copytree(folder, tmp_path / "copy"))
    )
    assert first != second
    assert recipe_hash(first) == recipe_hash(second)
    OtherModels(first)._check_latents("copy", second)
    fresh(tmp_path / "copy" / "codec-video.safetensors", 1)
    assert recipe_hash(first) != recipe_hash(second)
    with pytest.raises(RunError, match=r"\$.codecs.video differ"):
        OtherModels(first)._check_latents("copy", second)


def test_a_models_recipe_trains_its_codec_from_anywhere(
    model: tuple[Path, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `harmony train MODEL/recipe.toml --start MODEL`; an override comes first."""
    folder, latents = model
    monkeypatch.chdir(folder.parent)
    recipe = read_recipe(Path("model", "recipe.toml"))
    monkeypatch.chdir(tmp_path.parent)
    assert torch.equal(build(recipe).codecs.video.encode(frames()), latents)
    changed = read_recipe(folder / "recipe.toml", ["codecs.video.weights=mine.safetensors"])
    assert changed.codecs.video.weights == "mine.safetensors"


def test_its_own_file_comes_first(model: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    """Even if another lies where the recipe points."""
    folder, latents = model
    fresh(tmp_path / "codec.safetensors", 1)
    assert torch.equal(load(folder).parts.codecs.video.encode(frames()), latents)
    assert saved_recipe(folder).codecs.video.weights == str(folder / "codec-video.safetensors")


def test_without_any_file_the_error_names_the_recipes(model: tuple[Path, torch.Tensor]) -> None:
    (model[0] / "codec-video.safetensors").unlink()
    with pytest.raises(
        AssemblyError, match=r"\$.codecs.video: there is no file .*model/codec-video.saf"
    ):
        load(model[0])
