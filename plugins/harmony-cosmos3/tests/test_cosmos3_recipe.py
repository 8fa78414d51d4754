"""The plugin in use: the recipe with one model folder, clips, memory, comparison."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cosmos3_toys as toys
import pytest
import torch
from click.testing import CliRunner
from cosmos3_toys import QUICK, SMALL

from harmony_cosmos3 import folder
from harmony_cosmos3.recipe import RECIPE, cosmos3_recipe
from harmony_diffusers.scheduler import SavedTimes
from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import write_recipe
from harmony_parts.av import Prompt
from harmony_parts.cli.main import cli
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip
from harmony_parts.models.offload import external_modules

THIRD_PARTY = Path(__file__).parents[3] / "tests" / "helpers" / "third_party" / "harmony-half"
LIST = """
import sys
from harmony_parts.assembly.catalogue import Catalogue
parts = Catalogue.discover(only=["cosmos3"])
assert not parts.failures, parts.failures
mine = [declared for declared in parts.list() if declared.plugin == "cosmos3"]
print(*(f"{d.kind} {d.qualified} {d.distribution}" for d in mine), sep="\\n")
assert "torch" not in sys.modules
for declared in mine:
    parts.load_declared(declared)
heavy = {"torchaudio", "diffusers", "transformers"} & set(sys.modules)
assert not heavy, f"loading loads {heavy}"
"""


@pytest.fixture(scope="module")
def pipeline(model) -> Pipeline:
    """The shipped recipe with those weights, for small clips."""
    return Pipeline.assemble(cosmos3_recipe(str(model), [*SMALL, *QUICK]))


def test_parts_are_listed_and_loaded_without_their_libraries():
    """In a fresh process; only `build` imports diffusers and transformers."""
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "audio_codec cosmos3/cosmos3-audio harmony-cosmos3",
        "denoiser cosmos3/cosmos3 harmony-cosmos3",
        "encoder cosmos3/cosmos3-text harmony-cosmos3",
    ]


def test_clips_of_all_tasks(pipeline, tmp_path):
    """Joint, for a given sound, for a given video, from an image; in stereo."""
    made = pipeline.generate("a ball falls", seed=3)
    assert made.clip.frames.shape == (17, 32, 48, 3)
    assert made.clip.waveform.shape == (2, round(17 / 24 * 48000))
    assert torch.equal(pipeline.generate("a ball falls", seed=3).clip.frames, made.clip.frames)
    assert Clip.read(made.save(tmp_path / "clip.mp4")).frames.shape == made.clip.frames.shape
    dubbed = pipeline.generate("a ball falls", video=made, seed=4)
    assert torch.equal(dubbed.clip.frames, made.clip.frames)
    assert not torch.equal(dubbed.clip.waveform, made.clip.waveform)
    driven = pipeline.generate("a ball falls", audio=made, seed=4)
    assert not torch.equal(driven.clip.frames, made.clip.frames)
    image = torch.full((32, 48, 3), 200, dtype=torch.uint8)
    shown = pipeline.latents([Prompt("a ball falls", image=image)], seeds=[3])
    known = pipeline.codecs.video.encode(image[None, None])
    assert torch.allclose(shown["video"][:, :1], known, atol=1e-4)


def test_guidances_of_others_run_unchanged(pipeline, monkeypatch):
    """A third party's half of SyncCFG."""
    monkeypatch.syspath_prepend(THIRD_PARTY)
    from harmony_half.half import Half

    def latents(guidance):
        return pipeline.latents([Prompt("rain")], seeds=[0], guidance=guidance, steps=1)

    none, all_, half = (latents(g) for g in (NoGuidance(), SyncCFG(), Half(SyncCFG())))
    assert toys.same(half, none.map(lambda a, b: (a + b) / 2, all_), 1e-5)
    assert not toys.same(half, none, 1e-3)


def test_offloaded_clips_are_bitwise_equal(model, pipeline):
    """By parts and by layers; weights are copied first, as the address of a file's may differ."""
    other = Pipeline.assemble(cosmos3_recipe(str(model), [*SMALL, *QUICK]))
    for part in other.parts.each():
        for owner in external_modules(part):
            for weight in owner.parameters():
                weight.data = weight.data.clone()
    want = other.latents([Prompt("rain")], seeds=[1])
    assert toys.same(want, pipeline.latents([Prompt("rain")], seeds=[1]), 1e-5)
    for offload in ("parts", "layers"):
        made = other.to("cpu", offload=offload).latents([Prompt("rain")], seeds=[1])
        assert toys.same(made, want)


def test_the_recipe_with_the_folder_named_once_is_a_model(model, pipeline, tmp_path):
    """Written by hand: its table [published] gives all parts their weights, and the times."""
    text = RECIPE.read_text(encoding="utf-8")
    named = text.replace("# [published]", "[published]").replace(
        '# model = "FOLDER"', f'model = "{model}"'
    )
    assert named != text
    recipe = cosmos3_recipe(str(model), [*SMALL, *QUICK])
    assert recipe.sample.shift.times == SavedTimes(5.0, "unipc")
    file = tmp_path / "cosmos3.toml"
    file.write_text(named, encoding="utf-8")
    from harmony_parts.assembly.read import read_recipe

    assert read_recipe(file, [*SMALL, *QUICK]) == recipe
    file.write_text(write_recipe(recipe), encoding="utf-8")
    want = pipeline.latents([Prompt("rain")], seeds=[1])
    assert toys.same(load(file).latents([Prompt("rain")], seeds=[1]), want)


def test_guidances_are_compared(model, tmp_path, monkeypatch):
    """`harmony compare` from the folder to the page, and `harmony generate`."""
    monkeypatch.chdir(tmp_path)
    settings = [word for setting in [*SMALL, *QUICK] for word in ("--set", setting)]
    monkeypatch.setattr("sys.argv", ["folder", "c3", "--model", str(model), *settings])
    folder.main()
    Path("prompts.txt").write_text("a ball falls\n", encoding="utf-8")
    for words in (
        ["compare", "c3", "prompts.txt", "--out", "compared", "--with-text"],
        ["generate", "c3", "--prompt", "a ball falls", "--out", "clip.mp4"],
    ):
        done = CliRunner().invoke(cli, [*words, "--device", "cpu"])
        assert done.exit_code == 0, done.output
    results = json.loads(Path("compared/results.json").read_text(encoding="utf-8"))
    assert {column["name"]: column["passes"] for column in results["columns"]} == {
        "none": 1,
        "cfg": 2,
        "cfg + sync-cfg": 4,
    }
    assert all(clip["made"] for clip in results["clips"])
    assert Path("compared/index.html").is_file()
    assert Clip.read("clip.mp4").frames.shape == (17, 32, 48, 3)


@pytest.mark.slow
def test_it_is_counted_at_full_size_without_weights():
    """On the meta device, in diffusers' default form with sound."""
    recipe = cosmos3_recipe()
    parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
    count = {
        name: sum(weight.numel() for weight in part.frozen.parameters())
        for name, part in (("denoiser", parts.denoiser), ("audio", parts.codecs["audio"]))
    }
    assert count == {"denoiser": 15_156_754_688, "audio": 496_287_362}
    assert parts.codecs["video"].latents(recipe.format.frames) == 31
    assert parts.codecs["audio"].latents(recipe.format.samples(121)) == 127
