"""Every example runs as it is, in a folder of its own, and makes what it says."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harmony_parts.av import Prompt
from harmony_parts.media.clip import Clip

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(example: Path, folder: Path) -> str:
    """What the example prints."""
    # One thread: what an example may take is said for one core.
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HARMONY_PARTS_PLUGINS": "none",
    }
    done = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_they_are_numbered_and_shown():
    """One after the other, and each in a page of the documentation."""
    assert [example.name[:3] for example in EXAMPLES] == [
        f"{number:02d}_" for number in range(1, len(EXAMPLES) + 1)
    ]
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    assert not [
        example.name for example in EXAMPLES if f'--8<-- "examples/{example.name}' not in pages
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_it_runs(example: Path, tmp_path: Path):
    """It prints a little, and the clips that it writes play: picture and sound, as long as each
    other.
    """
    printed = run(example, tmp_path)
    assert 0 < len(printed.splitlines()) <= 20
    for file in tmp_path.glob("out/examples/*/*.mp4"):
        clip = Clip.read(file, streams={"video", "audio"})
        assert clip.frames is not None
        assert clip.waveform is not None
        assert (
            abs(clip.waveform.shape[1] / clip.sample_rate - clip.seconds) <= 0.5 / clip.sample_rate
        )
    if "05" not in example.stem:  # it measures, and writes nothing
        assert list(tmp_path.glob(f"out/examples/{example.stem[:2]}/*.mp4"))


def test_the_encoder_of_example_04_works_where_its_weights_are(monkeypatch: pytest.MonkeyPatch):
    """On the device "meta", which refuses the CPU's tensors as a GPU does; a mask made on the CPU
    would stay there.
    """
    spec = importlib.util.spec_from_file_location(
        "own_condition_on_meta", next(e for e in EXAMPLES if "04" in e.stem)
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    encoder = module.StrikesEncoder(32, 2.0).to("meta")
    said = encoder([Prompt(extra={"strikes": (0.5, 1.25)}), Prompt()])["strikes"]
    assert {x.device.type for c in (said, said.null) for x in (c.tokens, c.mask)} == {"meta"}


def test_truth_is_told_from_chance(tmp_path: Path):
    """Example 05 says what it is there to say: every number of true pairs is better than by
    chance.
    """
    printed = run(next(example for example in EXAMPLES if "05" in example.stem), tmp_path)
    lines = [line.split() for line in printed.splitlines() if "re-paired" in line]
    numbers = {name: (float(paired), float(chance)) for name, _, paired, _, chance in lines}
    assert set(numbers) == {"video_matched", "audio_matched", "offset_ms", "f1", "correlation"}
    for name, (paired, chance) in numbers.items():
        assert paired < chance if name == "offset_ms" else paired > chance, name
