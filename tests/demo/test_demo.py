"""The demo of a finished model, with a small one of fresh weights."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
import torch
from helpers.html_sources import sources
from helpers.talking_model import talking_model, talking_recipe
from PIL import Image

from harmony_parts.demo import run
from harmony_parts.demo.make import PLAIN, TRUTH, make, seeded, ways
from harmony_parts.demo.page import in_html, scores_of
from harmony_parts.demo.players import SECTIONS, in_words
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip

SCORES = """# A card

- Parameters: 1

## Scores: plain

- plain: steps [2]

### ambient

|  | n | paired |
| --- | --- | --- |
| events seen | 50 | 3.1 ± 0.2 |

Re-paired: chance.

## What it knows

words
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking_model(tmp_path_factory.mktemp("demo") / "model")


def test_the_demo_writes_all_its_files(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "JOINT", 1)
    monkeypatch.setattr(run, "DRIVEN", 1)
    threads = torch.get_num_threads()
    report = run.demo(tmp_path, str(model), seed=2)
    assert torch.get_num_threads() == threads
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert list(dict.fromkeys(case["task"] for case in report["cases"])) == list(SECTIONS)
    for case in report["cases"]:
        made = [clip["way"] for clip in case["clips"]]
        assert made[-2:] == [PLAIN, "SyncCFG"]
        assert (made[0] == TRUTH) == ("-by-" not in case["case"])
    html = (tmp_path / "report.html").read_text()
    files = sources(html)
    written = {f"clips/{file.name}" for file in (tmp_path / "clips").iterdir()}
    assert set(files) == written | {"sheet.png"}
    assert len(files) == len(written) + 2  # the sheet is shown, and linked
    assert sum(name.endswith(".flac") for name in files) == 2
    assert "has none" in html
    clip = Clip.read(tmp_path / report["cases"][0]["clips"][1]["file"])
    assert clip.frames.shape == (8, 256, 256, 3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 1200


def test_ways_start_from_the_same_noise_and_given_streams_are_kept(
    model: Path, tmp_path: Path
) -> None:
    """And a seed gives the same clips again."""
    pipeline = load(model)
    asked = seeded(run.chosen(pipeline.recipe, joint=1, driven=1, spoken=0, continued=0), 5)[1:3]
    assert [each.task for each in asked] == ["joint", "audio-driven"]
    twice = {PLAIN: NoGuidance(), "again": NoGuidance()}
    for each in make(pipeline, asked, tmp_path, twice):
        plain, again = each.clips[PLAIN].clip, each.clips["again"].clip
        assert torch.equal(plain.frames, again.frames)
        assert torch.equal(plain.waveform, again.waveform)
        truth = each.clips[TRUTH].clip
        assert torch.equal(plain.waveform, truth.waveform) == (each.asked.task == "audio-driven")
        assert not torch.equal(plain.frames, truth.frames)


def test_a_model_without_guidance_is_shown_with_sync_cfg() -> None:
    class Stand:
        recipe = talking_recipe()

    assert ways(Stand()) == {PLAIN: NoGuidance(), "SyncCFG": SyncCFG()}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (SyncCFG(video=2), {PLAIN: NoGuidance(), "SyncCFG": SyncCFG(video=2)}),
        (CFG(), {PLAIN: NoGuidance(), "CFG": CFG()}),
        (Sum([SyncCFG()]), {PLAIN: NoGuidance(), "SyncCFG": Sum([SyncCFG()])}),
        (Sum([CFG(), SyncCFG()]), {PLAIN: CFG(), "SyncCFG": Sum([CFG(), SyncCFG()])}),
        (
            Sum([CFG(), SyncCFG(), Rescale(CFG())]),
            {
                PLAIN: Sum([CFG(), Rescale(CFG())]),
                "SyncCFG": Sum([CFG(), SyncCFG(), Rescale(CFG())]),
            },
        ),
    ],
)
def test_sync_cfg_alone_is_compared(own: Guidance, expected: dict[str, Guidance]) -> None:
    class Stand:
        recipe = attrs.evolve(
            talking_recipe(), sample=attrs.evolve(talking_recipe().sample, guidance=own)
        )

    assert ways(Stand()) == expected


def test_scores_are_read_from_the_card() -> None:
    lines = scores_of(SCORES)
    assert lines[0] == "## Scores: plain"
    assert "words" not in "".join(lines)
    html = in_html(lines)
    assert "<h3>Scores: plain</h3>" in html
    assert "<h4>ambient</h4>" in html
    assert "<th></th><th>n</th><th>paired</th>" in html
    assert "<th>events seen</th><td>50</td><td>3.1 ± 0.2</td>" in html
    assert "<p>Re-paired: chance.</p>" in html
    assert scores_of("# A card") == []


def test_sync_is_said_of_clips_with_events_alone() -> None:
    numbers = {"video_events": 3.0, "audio_events": 4.0, "matched": 2.0, "offset_ms": 12.3}
    assert in_words(numbers) == "3 seen, 4 heard, 2 of them together, 12 ms apart"
    assert in_words({}) == ""


def test_a_model_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no model"):
        run.demo(tmp_path, str(tmp_path / "none"))
