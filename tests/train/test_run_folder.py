"""Which recipes continue a run."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest
from helpers import tiny_training as tiny

from harmony_parts.assembly.read import write_recipe
from harmony_parts.errors import RunError
from harmony_parts.filters.sound import SoundPresent
from harmony_parts.train.run_folder import find_run


def begun(folder: Path, text: str) -> Path:
    """A run folder with this recipe and a checkpoint."""
    (folder / "checkpoints" / "step-0000001").mkdir(parents=True)
    (folder / "recipe.toml").write_text(text)
    return folder


def test_a_setting_that_a_run_is_too_old_to_have_is_its_default(tmp_path: Path) -> None:
    recipe = tiny.recipe()
    text = write_recipe(recipe)
    older = text.replace("micro_batch = 0\n", "")
    older = re.sub(r"^clip = 1\.0\n", "", older, flags=re.MULTILINE)
    assert len(older) < len(text) - 20
    run = begun(tmp_path / "run", older)
    assert find_run(run, recipe, resume=True)
    with pytest.raises(RunError, match=r"\$\.train\.clip: was 1\.0, is now 2\.0$"):
        find_run(run, tiny.but(recipe, clip=2.0), resume=True)
    with pytest.raises(RunError, match=r"\$\.filters\[0\]\.use: was left out"):
        find_run(run, attrs.evolve(recipe, filters=(SoundPresent(),)), resume=True)


def test_a_recipe_that_this_version_cannot_read_is_compared_as_it_is(tmp_path: Path) -> None:
    """A part that isn't here, or a setting that is gone."""
    recipe = tiny.recipe()
    run = begun(tmp_path / "run", write_recipe(recipe).replace("clip = 1.0\n", "gone = 1\n"))
    with pytest.raises(RunError) as caught:
        find_run(run, recipe, resume=True)
    assert "$.train.gone: was 1, is now left out" in str(caught.value)
    assert "$.train.clip: was left out, is now 1.0" in str(caught.value)
