"""The plugin in use: the recipe with one model folder, clips, memory, comparison."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import kandinsky6_toys as toys
import pytest
import torch
from click.testing import CliRunner
from kandinsky6_toys import QUICK, SMALL

from harmony_kandinsky6 import folder
from harmony_kandinsky6.recipe import RECIPE, kandinsky6_recipe
from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe, write_recipe
from harmony_parts.av import Prompt
from harmony_parts.cli.main import cli
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
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
parts = Catalogue.discover(only=["kandinsky6"])
assert not parts.failures, parts.failures
mine = [declared for declared in parts.list() if declared.plugin == "kandinsky6"]
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
    return Pipeline.assemble(kandinsky6_recipe(str(model), [*SMALL, *QUICK]))


def test_parts_are_listed_and_loaded_without_their_libraries():
    """In a fresh process; only `build` imports diffusers and transformers."""
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "denoiser kandinsky6/kandinsky6 harmony-kandinsky6",
        "encoder kandinsky6/kandinsky6-text harmony-kandinsky6",
    ]


def test_clips_of_all_tasks(pipeline, tmp_path):
    """Joint, for a given sound, for a given video, from an image."""
    made = pipeline.generate("a ball falls", seed=3)
    assert made.clip.frames.shape == (17, 32, 48, 3)
    assert made.clip.waveform.shape == (1, round(17 / 24 * 44100))
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
    """A third party's half of SyncCFG; adaptive projected guidance, which is CFG if it is off."""
    monkeypatch.syspath_prepend(THIRD_PARTY)
    from harmony_apg.apg import APG
    from harmony_half.half import Half

    def latents(guidance):
        return pipeline.latents([Prompt("rain")], seeds=[0], guidance=guidance, steps=1)

    none, all_, half = (latents(g) for g in (NoGuidance(), SyncCFG(), Half(SyncCFG())))
    assert toys.same(half, none.map(lambda a, b: (a + b) / 2, all_), 1e-5)
    assert not toys.same(half, none, 1e-3)
    text = ("caption", "pooled")
    off = {"parallel": 1.0, "bound": 0.0, "momentum": 0.0, "drop": text}
    plain = latents(CFG(video=5, audio=5, drop=text))
    assert toys.same(latents(APG(video=5, audio=5, **off)), plain, 1e-5)
    assert not toys.same(latents(APG(video=5, audio=5, drop=text)), plain, 1e-3)


def test_offloaded_clips_are_bitwise_equal(model, pipeline):
    """By parts and by layers.

    Weights are copied first: a file has them at any address, and products depend on that in their
    last bit.
    """
    other = Pipeline.assemble(kandinsky6_recipe(str(model), [*SMALL, *QUICK]))
    for part in other.parts.each():
        for owner in external_modules(part):
            for weight in owner.parameters():
                weight.data = weight.data.clone()
    want = other.latents([Prompt("rain")], seeds=[1])
    assert toys.same(want, pipeline.latents([Prompt("rain")], seeds=[1]), 1e-5)
    for offload in ("parts", "layers"):
        made = other.to("cpu", offload=offload).latents([Prompt("rain")], seeds=[1])
        assert toys.same(made, want)


def test_the_recipe_is_a_model(model, pipeline, tmp_path, monkeypatch):
    """As a file and as a folder without weights; its shift is the scheduler's."""
    recipe = kandinsky6_recipe(str(model), [*SMALL, *QUICK])
    assert recipe.sample.shift.times.shift == 3.0
    assert read_recipe(RECIPE).sample.shift.times.shift == 1.0
    file = tmp_path / "kandinsky6.toml"
    file.write_text(write_recipe(recipe), encoding="utf-8")
    want = pipeline.latents([Prompt("rain")], seeds=[1])
    assert toys.same(load(file).latents([Prompt("rain")], seeds=[1]), want)
    named = read_recipe(RECIPE, [f"published.model={model}", *SMALL, *QUICK])
    assert named == recipe  # the recipe that ships, with the folder named once
    settings = [word for setting in [*SMALL, *QUICK] for word in ("--set", setting)]
    monkeypatch.setattr("sys.argv", ["k6", str(tmp_path / "k6"), "--model", str(model), *settings])
    folder.main()
    card = (tmp_path / "k6" / "README.md").read_text(encoding="utf-8")
    assert f"weights are loaded from {model} (digest {folder_digest(model)})" in card
    assert toys.same(load(tmp_path / "k6").latents([Prompt("rain")], seeds=[1]), want)


def test_one_model_and_revision_for_all_parts(model, tmp_path, monkeypatch):
    """A scheduler that is no flow of one shift is refused, with its name."""
    table = tomllib.loads(write_recipe(kandinsky6_recipe(str(model), revision="abc")))
    for inner in (
        *table["codecs"].values(),
        table["encoders"]["text"],
        table["denoiser"],
        table["sample"]["shift"],
    ):
        assert (inner["model"], inner["revision"]) == (str(model), "abc")
    monkeypatch.setattr("sys.argv", ["k6", str(tmp_path / "k6"), "--model", str(tmp_path)])
    (tmp_path / "scheduler").mkdir()
    for config, message in (
        ({"_class_name": "PiflowScheduler"}, "it is a PiflowScheduler, for which there is no"),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True},
            "it has use_dynamic_shifting True",
        ),
    ):
        (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
        with pytest.raises(SystemExit, match=message):
            folder.main()
    assert not (tmp_path / "k6").exists()


def test_the_index_of_the_folder_is_read(model, tmp_path):
    """A component of another name is found by its class; what is absent is listed."""
    index = {
        "_class_name": "Kandinsky6TI2VAPipeline",
        "transformer": ["diffusers", "Kandinsky6Transformer3DModel"],
        "video_vae": ["diffusers", "AutoencoderKLHunyuanVideo"],
        "audio_vae": [None, None],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    for name, there in (("transformer", "transformer"), ("video_vae", "vae")):
        (tmp_path / name).symlink_to(model / there)
    codecs = kandinsky6_recipe(str(tmp_path), SMALL).codecs
    own = kandinsky6_recipe(str(model), SMALL).codecs
    frames = torch.zeros(1, 5, 32, 48, 3, dtype=torch.uint8)
    made, want = (each.video.build(format=toys.FORMAT).encode(frames) for each in (codecs, own))
    assert torch.equal(made, want)
    with pytest.raises(
        ValueError,
        match=(
            "can't be loaded as MMAudioVAE: it is the folder of a Kandinsky6TI2VAPipeline, whose"
            r" model_index.json has no 'audio_vae'; it has transformer \(Kandinsky6Transformer3D"
            r"Model\), video_vae"
        ),
    ):
        codecs.audio.build(format=toys.FORMAT)


def test_guidances_are_compared(model, tmp_path, monkeypatch):
    """`harmony compare` from the folder to the page, and `harmony generate`."""
    monkeypatch.chdir(tmp_path)
    settings = [word for setting in [*SMALL, *QUICK] for word in ("--set", setting)]
    monkeypatch.setattr("sys.argv", ["folder", "k6", "--model", str(model), *settings])
    folder.main()
    Path("prompts.txt").write_text("a ball falls\n", encoding="utf-8")
    for words in (
        ["compare", "k6", "prompts.txt", "--out", "compared", "--with-text"],
        ["generate", "k6", "--prompt", "a ball falls", "--out", "clip.mp4"],
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
    """On the meta device, in diffusers' default form with the sound of 44.1 kHz."""
    sized = [
        "denoiser.config={in_audio_dim=40,out_audio_dim=40,visual_token_type_num_embeddings=2}"
    ]
    recipe = kandinsky6_recipe(overrides=sized)
    parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
    count = {
        name: sum(weight.numel() for weight in part.frozen.parameters())
        for name, part in (
            ("denoiser", parts.denoiser),
            ("video", parts.codecs["video"]),
            ("text", parts.encoders["text"]),
        )
    }
    assert count == {
        "denoiser": 48_188_676_200,
        "video": 246_478_803,
        "text": 8_292_166_656 + 123_060_480,
    }
    assert parts.codecs["video"].latents(recipe.format.frames) == 31
    assert parts.codecs["audio"].latents(recipe.format.samples(121)) == 218
