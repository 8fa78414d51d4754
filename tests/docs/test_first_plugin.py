"""The tutorial of the first plugin: writes its files and runs its commands in order."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.programs import environment

from harmony_parts.assembly.read import read_recipe, shipped_recipes
from harmony_parts.av import Prompt
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.generate.pipeline import Pipeline

pytestmark = pytest.mark.xdist_group("first-plugin")  # one fixture for all

Blocks = list[tuple[str, str, str]]


def test_the_plugin_has_at_most_15_lines(first_plugin: Blocks) -> None:
    code = [
        text
        for language, file, text in first_plugin
        if language == "python" and file.startswith("harmony-heed/harmony_heed/")
    ]
    assert len(code) == 2
    assert sum(len(text.splitlines()) for text in code) <= 15


def test_every_block_is_a_file_or_a_command(first_plugin: Blocks) -> None:
    for language, file, text in first_plugin:
        assert bool(file) != (language == "console")
        assert file or all(line.startswith("$ ") for line in text.splitlines())


@pytest.fixture(scope="module")
def tutorial(
    first_plugin: Blocks,
    pip_install: Callable[[Path, Path], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, str]]:
    """The folder with the tutorial's files, and the output of each command."""
    folder = tmp_path_factory.mktemp("first-plugin")
    # "heed": ignore other installed plugins
    env = environment(folder / "site", COLUMNS="200", HARMONY_PARTS_PLUGINS="heed")
    output = {}
    for language, file, text in first_plugin:
        if language != "console":
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            words = shlex.split(line.removeprefix("$ "))
            match words:
                case ["pip", "install", package]:
                    pip_install(folder / package, folder / "site")
                    continue
                case ["harmony", *rest]:
                    command = [sys.executable, "-m", "harmony_parts", *rest]
                case ["python", *rest]:
                    command = [sys.executable, *rest]
                case _:
                    raise AssertionError(f"the page has a command that the test can't run: {line}")
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=120, cwd=folder, env=env
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            output[line.removeprefix("$ ")] = done.stdout
    return folder, output


def test_the_commands_find_and_use_the_plugin(tutorial: tuple[Path, dict[str, str]]) -> None:
    folder, output = tutorial
    by_start = {
        command.split(" ")[0] + " " + command.split(" ")[1]: text
        for command, text in output.items()
    }
    assert "heed" in by_start["harmony parts"]
    assert "unheard" in by_start["harmony explain"]
    assert by_start["python use.py"].startswith("Heed(scale=4.0)")
    assert "passed" in by_start["python -m"]
    assert all((folder / file).stat().st_size for file in ("heed.mp4", "loud.mp4", "early.mp4"))


def test_the_recipe_s_table_can_be_read(
    tutorial: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is merged into the demo's recipe, with the package installed."""
    from harmony_parts.assembly.catalogue import Catalogue

    folder, _ = tutorial
    monkeypatch.syspath_prepend(folder / "site")
    import harmony_heed

    catalogue = Catalogue.discover(only=())
    catalogue.add("heed", harmony_heed)
    recipe = tomllib.loads(shipped_recipes()["demo"].read_text(encoding="utf-8"))
    recipe["sample"] |= tomllib.loads((folder / "heed.toml").read_text(encoding="utf-8"))["sample"]
    assert repr(read_recipe(recipe, parts=catalogue).sample.guidance) == "Heed(scale=4.0)"


@pytest.mark.parametrize("layout", ["demo", "ovi"])
def test_the_plugin_runs_unchanged_on_other_models(
    tutorial: tuple[Path, dict[str, str]], layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's model and one of Ovi's layout follow the equation; LTX-2 has its own test."""
    monkeypatch.syspath_prepend(tutorial[0] / "site")
    from harmony_heed.heed import Heed

    recipe = tomllib.loads(shipped_recipes()["demo"].read_text(encoding="utf-8"))
    if layout == "ovi":
        del recipe["encoders"]["voice"], recipe["train"]["drop"]["voice"]
        recipe["denoiser"] |= {
            "audio": {
                "use": "cross",
                "width": 64,
                "heads": 4,
                "feed": 128,
                "positions_per_latent": 0.4,
            },
            "interaction": {"use": "global", "rope_map": "constant", "constant": 0.4},
        }
    pipeline = Pipeline.assemble(read_recipe(recipe))
    with torch.no_grad():
        for parameter in pipeline.weights.parameters():  # heads and interactions begin at zero
            parameter.add_(
                0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
            )
    prompts = [Prompt("a red ball", "a knock")]
    results = {
        scale: pipeline.latents(
            prompts, seeds=[0], steps=1, shift=ConstantShift(3.0), guidance=Heed(scale=scale)
        )
        for scale in (0.0, 1.0, 4.0)
    }
    for stream in results[0.0]:  # one step is linear in the scale
        wanted = results[0.0][stream] + 4 * (results[1.0][stream] - results[0.0][stream])
        torch.testing.assert_close(results[4.0][stream], wanted, rtol=1e-4, atol=1e-4)
        assert not torch.equal(results[4.0][stream], results[1.0][stream])
