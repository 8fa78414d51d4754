"""Training of a codec: it improves on linear components, resumes bit for bit, and keeps latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.codecs.conv_video import ConvVideo
from harmony_parts.errors import AssemblyError, RunError
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.train.codec import train_codec
from harmony_parts.train.codec_state import CodecState, CodecTraining, draw_pieces

SETTINGS = CodecTraining(steps=4, batch=2, examples=4, checkpoint_every=2, log_every=2)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return read_recipe("demo", ["codecs.video={use='conv-video', width=8}", "format.seconds=1.5"])


@pytest.fixture(scope="module")
def weights(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of a whole run."""
    out = tmp_path_factory.mktemp("codec") / "run"
    return train_codec(recipe, SETTINGS, out=out, progress=False)


def test_the_weights_are_those_of_a_codec(recipe: Recipe, weights: Path) -> None:
    codec = ConvVideo(weights=str(weights), width=8).build(format=recipe.format)
    clip = recipe.data.build(format=recipe.format).example(0, torch.Generator()).clip
    assert clip.frames is not None
    decoded = codec.decode(codec.encode(clip.frames[None]))[0, : len(clip.frames)]
    error = (decoded.float() - clip.frames.float()).square().mean()
    assert 10 * torch.log10(255**2 / error) > 20  # dB; a linear codec's is 24


def test_training_lowers_the_error(recipe: Recipe) -> None:
    dataset = recipe.data.build(format=recipe.format)
    clips = [dataset.example(i, torch.Generator()).clip.frames for i in range(2)]
    pieces = [frames for frames in clips if frames is not None]
    network = ConvVideo(width=8).network()
    network.begin(pieces, torch.Generator().manual_seed(0))
    state = CodecState(network, CodecTraining(steps=24, batch=1), seed=0)
    errors = [state.advance(pieces)[1] for _ in range(24)]
    assert sum(errors[-8:]) < 0.9 * sum(errors[:8])
    assert state.learning_rate() == pytest.approx(0, abs=1e-9)


def test_a_resumed_run_is_bit_equal(
    recipe: Recipe, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = CodecState.advance

    def breaks(state: CodecState, pieces: list[torch.Tensor]) -> tuple[float, float, float]:
        if state.step == 3:
            raise OSError("the machine stops here")
        return advance(state, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(CodecState, "advance", breaks)
        with pytest.raises(OSError, match="stops here"):
            train_codec(recipe, SETTINGS, out=tmp_path, progress=False)
    assert not (tmp_path / "codec.safetensors").exists()
    resumed = load_tensors(train_codec(recipe, SETTINGS, out=tmp_path, resume=True, progress=False))
    whole = load_tensors(weights)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_only_the_decoder_changes_if_wanted(recipe: Recipe, weights: Path, tmp_path: Path) -> None:
    """Not one bit of a latent: models were trained on them."""
    settings = attrs.evolve(SETTINGS, decoder_only=True)
    after = train_codec(recipe, settings, out=tmp_path, start=str(weights), progress=False)
    old, new = load_tensors(weights), load_tensors(after)
    same = {name for name in old if torch.equal(old[name], new[name])}
    decoder = {name for name in old if name.startswith("decoder.")}
    assert same >= old.keys() - decoder
    assert len(same & decoder) < len(decoder) / 4
    with pytest.raises(RunError, match="give `start`"):
        train_codec(recipe, settings, out=tmp_path / "other", progress=False)


def refused(recipe: Recipe, weights: Path, **changes: Any) -> str:
    settings = attrs.evolve(SETTINGS, **changes.pop("settings", {}))
    with pytest.raises(RunError) as error:
        train_codec(recipe, settings, progress=False, **{"out": weights.parent, **changes})
    return str(error.value)


def test_runs_are_not_mixed(recipe: Recipe, weights: Path, tmp_path: Path) -> None:
    assert "already holds a run" in refused(recipe, weights)
    other = refused(recipe, weights, resume=True, settings={"batch": 3})
    assert "$.settings.batch: was 2, is now 3" in other
    assert "no run to resume" in refused(recipe, weights, resume=True, out=tmp_path)


def test_a_recipe_without_a_learned_codec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match="no codec of this recipe has weights to train"):
        train_codec(read_recipe("demo"), SETTINGS, out=tmp_path, progress=False)


def test_clips_shorter_than_a_piece_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    short = attrs.evolve(recipe, format=attrs.evolve(recipe.format, seconds=1.0))
    with pytest.raises(RunError, match="clips of 12 frames or samples are shorter than the 17"):
        train_codec(short, SETTINGS, out=tmp_path, progress=False)


def test_pieces_begin_anywhere_in_a_clip() -> None:
    media = [torch.arange(20), torch.arange(100, 130)]
    pieces = draw_pieces(media, 400, 17, torch.Generator().manual_seed(0))
    assert (pieces.diff(dim=1) == 1).all()
    assert set(pieces[:, 0].tolist()) == {*range(4), *range(100, 114)}


def test_the_rate_rises_stays_and_falls_to_zero(recipe: Recipe) -> None:
    """Over 60 steps, to the middle, and as half a cosine; matrices shrink by a hundredth of it."""
    network = recipe.codecs.video.network()
    state = CodecState(network, CodecTraining(steps=1000, learning_rate=0.5), seed=0)
    rates = {}
    for state.step in (0, 30, 60, 500, 750, 1000):
        rates[state.step] = state.learning_rate()
    assert rates == pytest.approx({0: 0, 30: 0.25, 60: 0.5, 500: 0.5, 750: 0.25, 1000: 0})
    before = {name: matrix.clone() for name, matrix in state.matrices.items()}
    for matrix in state.matrices.values():
        matrix.grad = torch.zeros_like(matrix)
    state.optimizers[0].step()
    assert before
    for name, matrix in state.matrices.items():
        assert torch.allclose(matrix, 0.99 * before[name], rtol=1e-6)
