"""The plugin of the tutorial, extracted from the page and installed, works unchanged on LTX-2."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import ltx2_toys as toys
import pytest
import torch
from ltx2_toys import QUICK, SMALL

from harmony_ltx2.recipe import ltx2_recipe
from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.av import AV, Prompt, Times, drop
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.media.clip import Clip
from harmony_parts.sample.timetable import timetable

PAGE = Path(__file__).parents[3] / "docs" / "tutorials" / "first-plugin.md"
GIVEN = {"joint": (), "audio-driven": ("audio",), "video-driven": ("video",)}
SAID = [Prompt(caption="a red ball", sound="a dull thud")]
ROUNDING = 1e-5  # of float32, four times as large after guidance, over two steps


@pytest.fixture(scope="module")
def site(first_plugin, pip_install, tmp_path_factory):
    """The folder into which pip has installed the page's files."""
    folder = tmp_path_factory.mktemp("heed")
    for _, file, text in first_plugin:
        if file.startswith("harmony-heed/"):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
    pip_install(folder / "harmony-heed", folder / "site")
    return folder / "site"


@pytest.fixture
def _installed(site, monkeypatch):
    """The package is on the path and discovered."""
    monkeypatch.delenv("HARMONY_PARTS_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(site)
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


def by_hand(pipeline, noise, given, scale):
    """v_unheard + scale (v - v_unheard) of two direct calls of the denoiser, and Euler's steps."""
    said = pipeline.conditions(SAID)
    sampling = pipeline.recipe.sample
    times = [t["video"] for t in timetable(sampling.steps, sampling.shift)]
    x = noise.replace(**{s: given[s] for s in given})
    made = [s for s in noise if s not in tuple(given)]
    for t, after in pairwise(times):
        at = AV(
            **{s: Times.uniform(torch.tensor([t if s in made else 0.0]), x[s].shape[1]) for s in x}
        )
        with torch.no_grad():
            v, unheard = (
                pipeline.parts.denoiser(x, at, conditions)
                for conditions in (said, drop(said, ["sound"]))
            )
        x = x.replace(
            **{s: x[s] + (after - t) * (unheard[s] + scale * (v[s] - unheard[s])) for s in made}
        )
    return x


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("task", GIVEN)
def test_the_tutorials_guidance_follows_its_formula(model, task):
    """In a recipe and from Python, in every task; bitwise the unguided run at its off value."""
    heed = ["sample.guidance.use=heed", "sample.guidance.scale=4.0"]
    pipeline = Pipeline.assemble(ltx2_recipe(str(model), [*SMALL, *QUICK, *heed]))
    from harmony_heed.heed import Heed

    assert pipeline.recipe.sample.guidance == Heed(scale=4.0)
    shapes, generator = pipeline.shapes(pipeline.format.frames), torch.Generator().manual_seed(7)
    noise = shapes.map(lambda shape: torch.randn(1, *shape, generator=generator))
    given = toys.noise(1).only(GIVEN[task])

    def latents(**guidance):
        return pipeline.latents(SAID, seeds=[7], given=given, **guidance)

    by_recipe, plain = latents(), latents(guidance=NoGuidance())
    assert toys.same(by_recipe, by_hand(pipeline, noise, given, 4.0), ROUNDING)
    assert toys.same(latents(guidance=Heed(scale=4.0)), by_recipe)
    assert toys.same(
        latents(guidance=Heed(scale=0.5)), by_hand(pipeline, noise, given, 0.5), ROUNDING
    )
    assert toys.same(latents(guidance=Heed(scale=1)), plain)
    assert not toys.same(by_recipe, plain, 100 * ROUNDING)


@pytest.mark.usefixtures("_installed")
def test_the_command_of_the_page_runs(model, tmp_path, monkeypatch):
    """With a model folder of the page's name."""
    from click.testing import CliRunner

    from harmony_ltx2 import folder
    from harmony_parts.cli.main import cli

    monkeypatch.chdir(tmp_path)
    settings = [word for setting in [*SMALL, *QUICK] for word in ("--set", setting)]
    monkeypatch.setattr("sys.argv", ["folder", "ltx2", "--model", str(model), *settings])
    folder.main()
    (command,) = re.findall(
        r"harmony\s+(generate\s+ltx2\s[^`]+)`", PAGE.read_text(encoding="utf-8")
    )
    done = CliRunner().invoke(cli, [*shlex.split(command), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert Clip.read(tmp_path / "thud.mp4").frames.shape == (17, 64, 96, 3)
