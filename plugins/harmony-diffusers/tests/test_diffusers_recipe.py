"""The plugin in use: listing without its libraries, recipes, sampling and clips."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import diffusers_toys as toys
import pytest
import torch
from click.testing import CliRunner

from harmony_parts.assembly.build import build
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.read import read_recipe, shipped_recipes, write_recipe
from harmony_parts.cli.main import cli
from harmony_parts.errors import AssemblyError
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip

NAMES = {
    "video_codec": ["wan-vae"],
    "audio_codec": ["mmaudio-vae", "ltx2-audio"],
    "encoder": ["umt5"],
}
LICENCES = {
    "wan-vae": "Apache-2.0",
    "mmaudio-vae": "CC-BY-NC 4.0",
    "ltx2-audio": "LTX-2 Community License",
    "umt5": "Apache-2.0",
}
LIST = """
import sys
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.cli.main import cli
from harmony_parts.cli.main import cli
parts = Catalogue.discover(only=["diffusers"])
assert not parts.failures, parts.failures
mine = [declared for declared in parts.list() if declared.plugin == "diffusers"]
cli(["parts", "list"], standalone_mode=False)
print(*(f"{d.kind} {d.qualified} {d.distribution}" for d in mine), sep="\\n")
heavy = {"torch", "torchaudio", "diffusers", "transformers"} & set(sys.modules)
assert not heavy, f"listing loads {heavy}"
for declared in mine:
    parts.load_declared(declared)
heavy = {"torchaudio", "diffusers", "transformers"} & set(sys.modules)
assert not heavy, f"loading loads {heavy}"
"""


@pytest.fixture(scope="module")
def parts() -> Catalogue:
    """The built-in parts and this plugin's."""
    found = Catalogue.discover(only=["diffusers"])
    assert not found.failures
    return found


def test_parts_are_listed_and_loaded_without_their_libraries():
    """In a fresh process, by `Catalogue.discover` and `harmony parts list`."""
    environment = {**os.environ, "HARMONY_PARTS_PLUGINS": "diffusers"}
    done = subprocess.run(
        [sys.executable, "-c", LIST], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    for kind, names in NAMES.items():
        for name in names:
            assert f"{kind} diffusers/{name} harmony-diffusers" in done.stdout
            assert done.stdout.count(name) >= 2


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names]
)
def test_parts_name_the_licence_of_their_weights(parts, kind, name):
    """In their docstring and in the README."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert LICENCES[name] in " ".join(parts.load(kind, name).__doc__.split())
    assert re.search(rf"`{name}`.*{re.escape(LICENCES[name])}", readme)


def recipe(audio: str) -> dict:
    """The demo's recipe with tiny pre-trained-style codecs and text encoder."""
    table = tomllib.loads(shipped_recipes()["demo"].read_text(encoding="utf-8"))
    sound = {
        "mmaudio-vae": {"use": "mmaudio-vae", "config": toys.MEL, "vocoder_config": toys.VOCODER},
        "ltx2-audio": {
            "use": "diffusers/ltx2-audio",
            "config": toys.LTX_MEL,
            "vocoder_config": toys.LTX_VOCODER,
        },
    }
    rate = {"mmaudio-vae": 4000, "ltx2-audio": 24000}[audio]
    table["format"] = {"fps": 12, "height": 32, "width": 48, "sample_rate": rate, "seconds": 0.75}
    table["codecs"] = {"video": {"use": "wan-vae", "config": toys.WAN22}, "audio": sound[audio]}
    pieces = ["{caption}", "<S>{speech}<E>", "<AUDCAP>{sound}<ENDAUDCAP>"]
    text = {
        "use": "umt5",
        "config": toys.TEXT,
        "precision": "float32",
        "length": 48,
        "conditions": {"caption": pieces, "sound": pieces},
    }
    table["encoders"] = {
        "text": text | {"negative": {"sound": "noise"}},
        "image": "reference-image",
        "voice": "reference-audio",
    }
    table["denoiser"]["layers"] = 1
    table["train"]["drop"] = {"caption": 0.1, "sound": 0.1}
    return table


@pytest.mark.parametrize("audio", NAMES["audio_codec"])
def test_a_recipe_makes_a_clip(parts, audio, tmp_path):
    """Read, written, assembled, and sampled with SyncCFG, whose anchors are from the codecs."""
    read = read_recipe(recipe(audio), parts=parts)
    text = write_recipe(read, parts=parts)
    assert 'diffusers = "harmony-diffusers ' in text
    assert read_recipe(tomllib.loads(text), parts=parts) == read
    pipeline = Pipeline.assemble(read)
    assert not any(name.startswith("encoders.text") for name in pipeline.weights.state_dict())
    made = pipeline.generate(
        "a ball jumps",
        sound="it knocks",
        voice=Clip(None, 12, torch.rand(1, 2000) - 0.5, read.format.sample_rate),
        steps=2,
    )
    assert made.clip.frames.shape == (9, 32, 48, 3)
    assert made.clip.waveform.shape == (1, round(0.75 * read.format.sample_rate))
    assert made.clip.waveform.isfinite().all()
    # its own sound given: only the picture is made
    again = pipeline.generate("a ball jumps", sound="it knocks", steps=1, audio=made)
    assert again.clip.frames.shape == made.clip.frames.shape
    path = made.save(tmp_path / "clip.mp4")
    back = Clip.read(path)
    assert back.frames.shape == made.clip.frames.shape
    assert back.waveform is not None


def test_random_weights_are_always_the_same(parts, tmp_path):
    """They aren't saved, so a loaded model must get those it was trained with."""
    pipeline = Pipeline.assemble(read_recipe(recipe("mmaudio-vae"), parts=parts), seed=5)
    random = torch.get_rng_state()
    loaded = load(pipeline.save(tmp_path))
    assert torch.equal(random, torch.get_rng_state())
    for mine, theirs in (
        (pipeline.codecs.video, loaded.codecs.video),
        (pipeline.codecs.audio, loaded.codecs.audio),
    ):
        assert all(
            torch.equal(a, b) for a, b in zip(mine.frozen.parameters(), theirs.frozen.parameters())
        )
    pairs = zip(
        pipeline.parts.encoders["text"].frozen.parameters(),
        loaded.parts.encoders["text"].frozen.parameters(),
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def test_an_error_names_its_place_in_the_recipe(parts):
    table = recipe("mmaudio-vae")
    table["codecs"]["video"] = {"use": "wan-vae", "model": "./nothing"}
    with pytest.raises(
        AssemblyError,
        match=r"\$.codecs.video: model './nothing' .* there is no folder './nothing'; set `model`",
    ):
        build(read_recipe(table, parts=parts))


@pytest.mark.parametrize("name", ["ovi", "harmony-5b"])
def test_recipes_of_full_size_build_without_weights(parts, name):
    """On the meta device: the parts, their widths and counts."""
    read = read_recipe(name, parts=parts)
    made = build(read, empty=("codecs", "encoders", "denoiser"))
    video, audio = made.codecs["video"], made.codecs["audio"]
    assert (video.grid, video.channels, audio.channels) == ((44, 80), 48, 20)
    assert (
        video.latents(read.format.frames),
        audio.latents(read.format.samples(read.format.frames)),
    ) == (31, 157)
    assert made.encoders["text"].produces == {"caption": 4096, "sound": 4096}


def test_harmony_at_full_size_is_explained():
    """All numbers are counted, and no weight is allocated."""
    done = CliRunner().invoke(cli, ["explain", "harmony-5b", "--dtype", "bfloat16", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["latents"] == {"video": [31, 44, 80, 48], "audio": [157, 20]}
    assert (
        sum(weights["numbers"] for weights in found["parameters"].values() if weights["trained"])
        == 12_282_767_572
    )
