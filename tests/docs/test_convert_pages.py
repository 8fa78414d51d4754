"""The commands and the Python of the pages about conversion run, with tiny checkpoints."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers import toy_weights as toys
from safetensors.torch import load_file, save_file

from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.assembly.read import read_recipe, shipped_recipes
from harmony_parts.cli.main import cli
from harmony_parts.convert.forward import convert
from harmony_parts.convert.fresh import Fresh
from harmony_parts.generate.load import load
from harmony_parts.media.clip import Clip

DOCS = Path(__file__).parents[2] / "docs" / "how-to"
# sizes that the recipes' codecs and text encoder require
FULL = {"TEXT": 4096, "VIDEO": 48, "AUDIO": 20, "WIDTH": 128, "HEADS": 1, "LAYERS": 1}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in that language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```$",
        (DOCS / page).read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )


def conversions(page: str) -> list[list[str]]:
    """The `harmony convert` lines of a page."""
    lines = [line for text in blocks(page, "bash") for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("harmony convert")]


@pytest.fixture
def _plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Load only the plugin that the recipes take their codecs from; skip if it isn't installed."""
    monkeypatch.setenv("HARMONY_PARTS_PLUGINS", "diffusers")
    catalogue.cache_clear()
    if not any(declared.plugin == "diffusers" for declared in catalogue().list()):
        catalogue.cache_clear()
        pytest.skip(
            "harmony-diffusers isn't installed: the recipes `ovi` and `wan-5b` can't be read"
        )
    yield
    catalogue.cache_clear()


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _plugin: None) -> Path:
    """A folder with tiny versions of the files that the pages download."""
    monkeypatch.chdir(tmp_path)
    for name, number in FULL.items():
        monkeypatch.setattr(toys, name, number)
    (tmp_path / "Ovi").mkdir()
    sizes = {"width": 128, "feed": 48, "layers": 1}
    save_file(toys.numbers(toys.ovi_shapes(**sizes)), tmp_path / "Ovi" / "model.safetensors")
    wan = toys.sharded(tmp_path / "Wan2.2-TI2V-5B", toys.numbers(toys.wan_shapes(**sizes)))
    config = toys.WAN_CONFIG | {
        "dim": 128,
        "num_heads": 1,
        "num_layers": 1,
        "in_dim": 48,
        "out_dim": 48,
        "text_dim": 4096,
    }
    (wan / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("page", ["convert-ovi.md", "start-from-wan.md"])
def test_the_pages_commands_convert(downloads: Path, page: str) -> None:
    """One by one; converting back gives the downloaded tensors."""
    commands = conversions(page)
    assert len(commands) >= 2
    for words in commands:
        done = CliRunner().invoke(cli, words, prog_name="harmony")
        assert done.exit_code == 0, f"{shlex.join(words)}: {done.output}"
        out = words[words.index("--out") + 1]
        assert out in done.output
        # the checkpoints have everything but what --init initialises
        if "--init" in words:
            untrained = (
                "initialised, to be trained: denoiser.blocks.*.interaction; until then the streams"
                " don't affect each other\n"
            )
            assert (untrained in done.output) == (words[words.index("--init") + 1] != "mmdit")
            assert (
                f"next: harmony train {out}/recipe.toml --start {out} --data CLIPS --out"
                in done.output
            )
        elif "back" not in words:
            assert f"try: harmony generate {out} --out clip.mp4" in done.output
    if page == "convert-ovi.md":
        assert toys.same(load_file("again.safetensors"), load_file("Ovi/model.safetensors"))
        recipe = read_recipe("models/ovi/recipe.toml")
        assert (recipe.format.height, recipe.format.width, recipe.denoiser.video.heads) == (
            512,
            992,
            1,
        )
        for text in blocks(page, "py"):
            exec(compile(text, page, "exec"), {})
        assert {tensor.dtype for tensor in load_file("bf16.safetensors").values()} == {
            torch.bfloat16
        }
    else:
        wan = {
            name: tensor
            for file in Path("Wan2.2-TI2V-5B").glob("*.safetensors")
            for name, tensor in load_file(file).items()
        }
        assert toys.same(load_file("video.safetensors"), wan)
        fates = json.loads(Path("start.json").read_text())["counts"]
        assert all(fates.values())
        assert read_recipe("models/wan/recipe.toml").denoiser.layers == 1


def test_the_python_of_the_page_trains_a_stitched_pair(
    files: toys.Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a folder of two clips: the saved weights have changed, the interaction's too."""
    monkeypatch.chdir(tmp_path)
    recipe = toys.RECIPE | {"data": "clips", "train": toys.RECIPE["train"] | {"prepared": 0}}
    convert(
        "wan",
        files.wan,
        "models/start",
        audio=files.ovi,
        init="gldi",
        configs=files.configs,
        recipe=recipe,
    )
    generator = torch.Generator().manual_seed(0)
    for n in range(2):
        frames = torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8, generator=generator)
        Path("clips").mkdir(exist_ok=True)
        Clip(frames, 12, 0.1 * torch.randn(1, 5334, generator=generator), 8000).save(
            f"clips/{n}.mp4"
        )
    (text,) = blocks("start-from-wan.md", "py")
    exec(compile(text, "start-from-wan.md", "exec"), {})
    before, after = toys.saved(Path("models/start")), load("runs/start").weights.state_dict()
    assert before.keys() == after.keys()
    assert not torch.equal(
        before["denoiser.blocks.0.interaction.to_video.o.weight"],
        after["denoiser.blocks.0.interaction.to_video.o.weight"],
    )
    change = (
        after["denoiser.blocks.0.video.ffn.0.weight"]
        - before["denoiser.blocks.0.video.ffn.0.weight"]
    )
    assert 0 < change.abs().max() < 0.01  # two steps of AdamW at no more than 1e-3


@pytest.mark.usefixtures("_plugin")
def test_the_shipped_recipes_have_the_size_of_the_originals() -> None:
    """On the meta device: the number of tensors and of parameters."""
    for name, tensors, numbers in (("ovi", 2073, 11_660_753_108), ("wan-5b", 825, 4_999_787_712)):
        assert name in shipped_recipes()
        expected = Fresh(read_recipe(name), 0).expected
        assert (len(expected), sum(tensor.numel() for tensor in expected.values())) == (
            tensors,
            numbers,
        )
