"""The plugin in use: the recipe with one model folder, clips, memory, comparison."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import minimax_h3_toys as toys
import pytest
import torch
from click.testing import CliRunner
from minimax_h3_toys import QUICK, SMALL

from harmony_diffusers.scheduler import SavedTimes
from harmony_minimax_h3 import folder
from harmony_minimax_h3.recipe import RECIPE, minimax_h3_recipe
from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import write_recipe
from harmony_parts.av import Prompt
from harmony_parts.cli.main import cli
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.provenance import provenance_of
from harmony_parts.generate.request import Request
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip
from harmony_parts.models.external_weights import folder_digest
from harmony_parts.models.offload import external_modules

THIRD_PARTY = Path(__file__).parents[3] / "tests" / "helpers" / "third_party" / "harmony-half"
LIST = """
import sys
from harmony_parts.assembly.catalogue import Catalogue
parts = Catalogue.discover(only=["minimax-h3"])
assert not parts.failures, parts.failures
mine = [declared for declared in parts.list() if declared.plugin == "minimax-h3"]
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
    return Pipeline.assemble(minimax_h3_recipe(str(model), [*SMALL, *QUICK]))


def test_parts_are_listed_and_loaded_without_their_libraries():
    """In a fresh process; only `build` imports diffusers and transformers."""
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "audio_codec minimax-h3/minimax-h3-audio harmony-minimax-h3",
        "denoiser minimax-h3/minimax-h3 harmony-minimax-h3",
        "encoder minimax-h3/minimax-h3-text harmony-minimax-h3",
        "video_codec minimax-h3/minimax-h3-video harmony-minimax-h3",
    ]


def test_clips_of_all_tasks(pipeline, tmp_path):
    """Joint, for a given sound, for a given video, from an image; in stereo."""
    made = pipeline.generate("a ball falls", seed=3)
    assert made.clip.frames.shape == (22, 32, 64, 3)
    assert made.clip.waveform.shape == (2, round(22 / 24 * 32000))
    assert torch.equal(pipeline.generate("a ball falls", seed=3).clip.frames, made.clip.frames)
    assert Clip.read(made.save(tmp_path / "clip.mp4")).frames.shape == made.clip.frames.shape
    dubbed = pipeline.generate("a ball falls", video=made, seed=4)
    assert torch.equal(dubbed.clip.frames, made.clip.frames)
    assert not torch.equal(dubbed.clip.waveform, made.clip.waveform)
    driven = pipeline.generate("a ball falls", audio=made, seed=4)
    assert not torch.equal(driven.clip.frames, made.clip.frames)
    image = torch.full((32, 64, 3), 200, dtype=torch.uint8)
    shown = pipeline.latents([Prompt("a ball falls", image=image)], seeds=[3])
    known = pipeline.codecs.video.encode(image[None, None])
    assert torch.allclose(shown["video"][:, :1], known, atol=1e-4)


def test_guidances_of_others_run_unchanged(pipeline, monkeypatch):
    """A third party's half of SyncCFG; adaptive projected guidance, which is CFG if it is off."""
    monkeypatch.syspath_prepend(THIRD_PARTY)
    from harmony_apg.apg import APG
    from harmony_half.half import Half

    def latents(guidance):
        return pipeline.latents([Prompt("rain")], seeds=[0], guidance=guidance, steps=1)

    none, all_, half = (latents(g) for g in (NoGuidance(), SyncCFG(), Half(SyncCFG())))
    assert toys.same(half, none.map(lambda a, b: (a + b) / 2, all_), 1e-5)
    assert not toys.same(half, none, 1e-3)
    off = {"parallel": 1.0, "bound": 0.0, "momentum": 0.0}
    plain = latents(CFG(video=5, audio=5))
    assert toys.same(latents(APG(video=5, audio=5, **off)), plain, 1e-5)
    assert not toys.same(latents(APG(video=5, audio=5)), plain, 1e-3)


def test_offloaded_clips_are_bitwise_equal(model, pipeline):
    """By parts and by layers; weights are copied first, as the address of a file's may differ."""
    other = Pipeline.assemble(minimax_h3_recipe(str(model), [*SMALL, *QUICK]))
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
    recipe = minimax_h3_recipe(str(model), [*SMALL, *QUICK])
    shifts = recipe.sample.shift
    assert shifts.video.times == SavedTimes(12.0, "plain")
    assert shifts.audio.times == SavedTimes(3.0, "plain")
    file = tmp_path / "minimax-h3.toml"
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
    monkeypatch.setattr("sys.argv", ["folder", "h3", "--model", str(model), *settings])
    folder.main()
    Path("prompts.txt").write_text("a ball falls\n", encoding="utf-8")
    for words in (
        ["compare", "h3", "prompts.txt", "--out", "compared"],
        ["generate", "h3", "--prompt", "a ball falls", "--out", "clip.mp4"],
    ):
        done = CliRunner().invoke(cli, [*words, "--device", "cpu"])
        assert done.exit_code == 0, done.output
    results = json.loads(Path("compared/results.json").read_text(encoding="utf-8"))
    assert {column["name"]: column["passes"] for column in results["columns"]} == {
        "none": 1,
        "cfg": 2,
        "sync-cfg": 3,
    }
    assert all(clip["made"] for clip in results["clips"])
    assert Path("compared/index.html").is_file()
    noted = json.loads(Path("clip.mp4.json").read_text(encoding="utf-8"))["model"]["published"]
    assert noted == [{"model": model.name, "digest": folder_digest(model)}]
    assert Clip.read("clip.mp4").frames.shape == (22, 32, 64, 3)


def test_clips_note_the_digest_of_the_folder(model, tmp_path):
    """A copy of the folder elsewhere is the same model, a changed file another one."""
    copy = tmp_path / model.name
    shutil.copytree(model, copy)
    notes = [
        provenance_of(minimax_h3_recipe(str(place), SMALL), "", Request(prompt="rain"))["model"]
        for place in (model, copy)
    ]
    digest = folder_digest(model)
    assert notes[0]["published"] == [{"model": model.name, "digest": digest}]
    assert notes[1] == notes[0]
    (copy / "scheduler" / "scheduler_config.json").write_text("{}", encoding="utf-8")
    changed = provenance_of(minimax_h3_recipe(str(copy), SMALL), "", Request())["model"]
    assert changed["published"] != notes[0]["published"]
    assert changed["recipe"] != notes[0]["recipe"]


@pytest.mark.slow
def test_it_is_counted_at_full_size_without_weights():
    """On the meta device, in diffusers' default form, and of the text the layers that are used."""
    recipe = minimax_h3_recipe()
    parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
    count = {
        name: sum(weight.numel() for weight in part.frozen.parameters())
        for name, part in (
            ("denoiser", parts.denoiser),
            ("video", parts.codecs["video"]),
            ("audio", parts.codecs["audio"]),
            ("text", parts.encoders["text"]),
        )
    }
    assert count == {
        "denoiser": 33_122_992_896,
        "video": 2_603_868_984,
        "audio": 151_321_489,
        "text": 25_157_829_120,
    }
    assert parts.codecs["video"].latents(recipe.format.frames) == 37
    assert parts.codecs["audio"].latents(recipe.format.samples(124)) == 207
