"""The walks of docs/explanation/architecture.md are the calls of real runs."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from helpers.saved_model import RECIPE

import harmony_parts as hp
from harmony_parts.train.loop import train

PACKAGE = Path(hp.__file__).parent
ROOT = PACKAGE.parent
PAGE = ROOT / "docs/explanation/architecture.md"
WALKS = {"One clip through training": "train", "One prompt through generation": "generate"}
LINE = re.compile(r"^\d+\. `([\w/]+\.py): ([\w.]+)`", re.MULTILINE)

Call = tuple[str, str]  # file, qualified name of the function


def walk(title: str) -> list[Call]:
    """The lines of a walk."""
    section = PAGE.read_text(encoding="utf-8").split(f"### {title}\n")[1]
    return LINE.findall(re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0])


def traced(run: Callable[[], object], wanted: set[Call]) -> list[Call]:
    """The calls of the `wanted` functions during `run`, in order."""
    calls: list[Call] = []
    files = {str(PACKAGE / file): file for file, _ in wanted}

    def record(frame: FrameType, event: str, _: Any) -> None:
        file = files.get(frame.f_code.co_filename) if event == "call" else None
        if file and (file, frame.f_code.co_qualname) in wanted:
            calls.append((file, frame.f_code.co_qualname))

    sys.setprofile(record)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def not_reached(listed: list[Call], calls: list[Call]) -> list[Call]:
    """The listed calls that aren't among `calls` in this order."""
    left = iter(calls)
    return [call for call in listed if call not in left]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[], object]]:
    """Title of a walk -> the run that takes it: a small model, trained on three files."""
    folder = tmp_path_factory.mktemp("walk")
    random = torch.Generator().manual_seed(0)
    (folder / "clips").mkdir()
    for number in range(3):
        frames = torch.randint(0, 256, (12, 16, 16, 3), generator=random, dtype=torch.uint8)
        sound = torch.rand(1, 8000, generator=random) - 0.5
        clip = hp.Clip(frames=frames, fps=12, waveform=sound, sample_rate=8000)
        clip.save(folder / "clips" / f"{number}.mp4")
    table: dict[str, Any] = copy.deepcopy(RECIPE)
    terms = [{"task": task, "probability": 0.5} for task in ("joint", "audio-driven")]
    table |= {"data": {"use": "clips"}, "task": {"use": "sampled", "terms": terms}}
    table["train"]["steps"], table["sample"]["solver"] = 1, "euler"
    recipe = hp.read_recipe(table)

    def training() -> None:
        train(recipe, out=folder / "run", data_root=folder / "clips", progress=False)

    def generation() -> None:
        hp.load(folder / "run").generate("a red ball").save(folder / "clip.mp4")

    return dict(zip(WALKS, (training, generation), strict=True))


def test_each_walk_is_what_a_run_calls_in_this_order(
    runs: dict[str, Callable[[], object]],
) -> None:
    for title, run in runs.items():
        listed = walk(title)
        assert len(listed) > 15
        assert not not_reached(listed, traced(run, set(listed))), title


@pytest.mark.parametrize("title", WALKS)
def test_only_the_leading_folder_is_entered_twice(title: str) -> None:
    folders = [folder for folder, _ in groupby(file.split("/")[0] for file, _ in walk(title))]
    others = [folder for folder in folders if folder != WALKS[title]]
    assert len(set(others)) == len(others)


def test_a_call_that_never_happens_is_found() -> None:
    first, second = ("a.py", "f"), ("b.py", "g")
    assert not_reached([first, second], [second, first, second]) == []
    assert not_reached([second, first], [first, second]) == [first]


def test_the_map_for_contributors_names_every_folder() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = {file.parent.relative_to(PACKAGE).parts[0] for file in PACKAGE.glob("*/*.py")}
    assert not [folder for folder in folders if f"`{folder}/`" not in page]
