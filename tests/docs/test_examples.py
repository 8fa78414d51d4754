"""Every example runs unchanged, in an empty folder, and writes what it documents."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import environment

from harmony_parts.av import Prompt
from harmony_parts.media.clip import Clip

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(example: Path, folder: Path) -> str:
    """Run an example; returns what it prints."""
    done = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=environment(HARMONY_PARTS_PLUGINS="none"),  # the limits of time are for one core
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_examples_are_numbered_and_included_in_a_page():
    """Without gaps."""
    assert [example.name[:3] for example in EXAMPLES] == [
        f"{number:02d}_" for number in range(1, len(EXAMPLES) + 1)
    ]
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    assert not [
        example.name for example in EXAMPLES if f'--8<-- "examples/{example.name}' not in pages
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_the_example_runs(example: Path, tmp_path: Path):
    """It prints at most 20 lines; the video and audio of its clips have the same length."""
    printed = run(example, tmp_path)
    assert 0 < len(printed.splitlines()) <= 20
    for file in tmp_path.glob("out/examples/*/*.mp4"):
        clip = Clip.read(file, streams={"video", "audio"})
        assert clip.frames is not None
        assert clip.waveform is not None
        assert (
            abs(clip.waveform.shape[1] / clip.sample_rate - clip.seconds) <= 0.5 / clip.sample_rate
        )
    if "05" not in example.stem:  # it measures and writes no clips
        assert list(tmp_path.glob(f"out/examples/{example.stem[:2]}/*.mp4"))


def test_the_encoder_of_example_04_works_on_the_device_of_its_weights(
    monkeypatch: pytest.MonkeyPatch,
):
    """The device "meta" refuses CPU tensors, as a GPU does."""
    spec = importlib.util.spec_from_file_location(
        "own_condition_on_meta", next(e for e in EXAMPLES if "04" in e.stem)
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    encoder = module.StrikesEncoder(32, 2.0).to("meta")
    condition = encoder([Prompt(extra={"strikes": (0.5, 1.25)}), Prompt()])["strikes"]
    assert {x.device.type for c in (condition, condition.null) for x in (c.tokens, c.mask)} == {
        "meta"
    }


def test_example_05_separates_true_pairs_from_chance(tmp_path: Path):
    """Every number is better for true pairs than for re-paired ones."""
    printed = run(next(example for example in EXAMPLES if "05" in example.stem), tmp_path)
    lines = [line.split() for line in printed.splitlines() if "re-paired" in line]
    numbers = {name: (float(paired), float(chance)) for name, _, paired, _, chance in lines}
    assert set(numbers) == {"video_matched", "audio_matched", "offset_ms", "f1", "correlation"}
    for name, (paired, chance) in numbers.items():
        assert paired < chance if name == "offset_ms" else paired > chance, name
