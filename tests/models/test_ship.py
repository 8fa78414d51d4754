"""`harmony ship`: a model's folder in half precision, with a card and what it knows."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.shipped_model import make_model
from safetensors.torch import load_file, save_file

import harmony_parts as hp
from harmony_parts.av import Prompt
from harmony_parts.bench.markdown import scores_section
from harmony_parts.cli.main import cli
from harmony_parts.errors import RunError
from harmony_parts.models.ship import ship


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def shipped(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ship(model, tmp_path_factory.mktemp("out") / "little")


def velocities(folder: Path) -> list[torch.Tensor]:
    """Those of one pass, from noise, with a prompt."""
    pipeline = hp.load(folder)
    shapes = pipeline.shapes(pipeline.format.frames)
    generator = torch.Generator().manual_seed(0)
    noise = shapes.map(lambda shape: torch.randn(1, *shape, generator=generator))
    times = noise.map(lambda x: hp.Times.uniform(torch.full((1,), 0.6), x.shape[1]))
    with torch.no_grad():
        out = pipeline.parts.denoiser(
            noise, times, pipeline.conditions([Prompt(caption="a red ball bounces")])
        )
    return [out.video, out.audio]


def test_half_precision_is_stored_and_float32_computed(model: Path, shipped: Path) -> None:
    """Loading is exact: each number is that of the file. A pass differs by the rounding alone."""
    stored, trained = (load_file(each / "model.safetensors") for each in (shipped, model))
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert stored.keys() == trained.keys()
    loaded = hp.load(shipped).weights.state_dict()
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    assert all(torch.equal(loaded[name], stored[name].float()) for name in stored)
    for half, full in zip(velocities(shipped), velocities(model), strict=True):
        difference = float((half - full).norm() / full.norm())
        assert 0 < difference < 2e-3  # 2^-11 a weight
    half = hp.load(shipped, dtype=torch.float16).weights.state_dict()
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}, "if it is asked for"


def test_the_folder_is_complete(model: Path, shipped: Path) -> None:
    assert sorted(file.name for file in shipped.iterdir()) == [
        "README.md",
        "codec-video.safetensors",
        "known.json",
        "model.safetensors",
        "recipe.toml",
    ]
    assert (shipped / "codec-video.safetensors").read_bytes() == (
        model / "codec-video.safetensors"
    ).read_bytes()
    text = (shipped / "recipe.toml").read_text()
    assert text.startswith('name = "little"')
    assert not any(str(place) in text for place in (model, model.parent, shipped, Path.cwd()))
    again = hp.load(shipped).save(shipped.parent / "again")
    assert (again / "known.json").read_text() == (shipped / "known.json").read_text()


def test_a_prompt_beyond_what_it_knows_gets_the_nearest(shipped: Path) -> None:
    pipeline = hp.load(shipped)
    with pytest.warns(UserWarning, match="doesn.t know") as caught:
        pipeline.generate("a dog barks", steps=1, seconds=0.5, progress=False)
    (said,) = (str(each.message) for each in caught)
    assert said.startswith(
        "the prompt has words that this model doesn't know: dog, barks. The nearest that it"
        " knows: 'a "
    )
    assert said.count("; '") == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.generate("a red ball bounces on wood", steps=1, seconds=0.5, progress=False)


def test_the_command_line_warns_too(shipped: Path, tmp_path: Path) -> None:
    few = ("--steps", "1", "--seconds", "0.5", "--out", str(tmp_path / "x.mp4"))
    done = CliRunner().invoke(cli, ["generate", str(shipped), "--prompt", "a dog barks", *few])
    assert done.exit_code == 0, done.output
    assert "warning: the prompt has words that this model doesn't know: dog" in done.stderr


@pytest.fixture
def bench(model: Path, tmp_path: Path) -> Path:
    """The report of a benchmark of the model's clips, made in a moment."""
    cases = tmp_path / "cases.jsonl"
    cases.write_text("".join(f'{{"prompt": "a ball {k}", "name": "c{k}"}}\n' for k in range(5)))
    words = ["bench", str(model), "--cases", str(cases), "--steps", "1", "--seconds", "0.5"]
    done = CliRunner().invoke(cli, [*words, "--out", str(tmp_path / "bench")])
    assert done.exit_code == 0, done.output
    return tmp_path / "bench" / "bench.json"


def test_the_card_has_scores_and_notes(model: Path, bench: Path, tmp_path: Path) -> None:
    """The numbers are those of the report, to the digit; the training's line is kept."""
    copy = shutil.copytree(model, tmp_path / "copy")
    card = copy / "README.md"
    card.write_text(card.read_text() + "- Training: 7 steps\n")
    (tmp_path / "faults.md").write_text("## Faults seen\n\nBalls vanish.\n")
    words = ["ship", copy, "--out", tmp_path / "out", "--name", "mine", "--scores", bench]
    words += ["--notes", tmp_path / "faults.md", "--about", "Hours: 9", "--dtype", "bfloat16"]
    done = CliRunner().invoke(cli, list(map(str, words)))
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'out'}: 3." in done.output
    text = (tmp_path / "out" / "README.md").read_text()
    for line in ("# mine", "- Training: 7 steps", "- Hours: 9", "- Seeds: 0 of the training, 0 of"):
        assert f"{line}" in text
    assert "- Weights: bfloat16, at most " in text
    order = [text.index(each) for each in ("## Scores", "## Faults seen", "## What it knows")]
    assert order == sorted(order)
    (found,) = json.loads(bench.read_text())["sets"].values()
    ((_, metrics),) = found.items()
    seen = metrics["events"]["video_events"]
    assert f"| events seen | 5 | {seen['paired']:.2g}" in text
    with pytest.raises(ValueError, match="isn't a report of `harmony bench`"):
        scores_section({"sets": {}})


def test_weights_beyond_half_precision_are_refused(model: Path, tmp_path: Path) -> None:
    big = shutil.copytree(model, tmp_path / "big")
    state = load_file(big / "model.safetensors")
    name = next(iter(state))
    state[name].flatten()[0] = 70_000.0
    save_file(state, big / "model.safetensors")
    with pytest.raises(RunError, match=rf"{name} has values up to 7e\+04.*another type"):
        ship(big, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    ship(big, tmp_path / "out", dtype=torch.float32)


def test_files_that_are_there_are_never_replaced(model: Path, tmp_path: Path) -> None:
    """They may be another model, a card that was edited, or recordings."""
    note = tmp_path / "README.md"
    note.write_text("mine")
    with pytest.raises(RunError, match="already has files; name a new folder"):
        ship(model, tmp_path)
    assert [*tmp_path.iterdir()] == [note]
    assert note.read_text() == "mine"


def test_scores_that_are_no_report_are_named(model: Path, tmp_path: Path) -> None:
    lines = tmp_path / "scores.jsonl"
    lines.write_text("{}\n{}\n")
    words = ["ship", str(model), "--out", str(tmp_path / "out"), "--scores", str(lines)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 1
    assert f"{lines}: isn't the bench.json of `harmony bench`" in done.output
