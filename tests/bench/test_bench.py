"""`harmony bench`: models, folders, two side by side, kill and resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from helpers.command_line import jsonl
from PIL import Image

from harmony_parts.media.clip import Clip
from harmony_parts.metrics.compare import compare
from harmony_parts.metrics.events import Events

CASES = [{"set": "one", "prompt": f"ball {k}", "name": f"c{k}"} for k in range(3)]
CASES += [{"set": "two", "prompt": "a bell", "name": "bell"}]
LOOSE = ("--metric", "events.onset=0.5", "--metric", "events.flash=0.0001")
FAST = ("--steps", "1", "--device", "cpu")


def flashes(folder: Path, count: int, late: float = 0.0) -> Path:
    """Clips of 1 s with a flash at another time each, and a click `late` seconds after it."""
    folder.mkdir(parents=True)
    for k in range(count):
        at = 4 + 3 * k
        frames = torch.full((36, 16, 16, 3), 20, dtype=torch.uint8)
        frames[at : at + 3] = 230
        wave, begin = torch.zeros(1, 24000), round((at / 24 + late) * 16000)
        wave[0, begin : begin + 600] = 0.5 * torch.sin(torch.arange(600) * 0.3)
        Clip(frames, Fraction(24), wave, 16000).save(folder / f"clip{k}.mp4")
    return folder


def report(out: Path) -> dict:
    return json.loads((out / "bench.json").read_text(encoding="utf-8"))


@pytest.fixture
def run(harmony, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "cases.jsonl", *CASES)

    def main(*words, fails=0):
        result = harmony("bench", *words)
        assert result.exit_code == fails, result.output
        return result

    return main


def test_a_model_is_scored_by_set(run, trained):
    result = run(trained, "--cases", "cases.jsonl", "--seeds", "2", "--out", "o", *FAST, *LOOSE)
    found = report(Path("o"))
    assert list(found["sets"]) == ["one", "two", "all"]
    (side,) = found["sides"]
    assert [line["file"] for line in side["clips"]] == [
        f"{case['set']}/{case['name']}{more}.mp4" for case in CASES for more in ("", "+1")
    ]
    numbers = found["sets"]["one"]["tiny"]["events"]
    assert (numbers["audio_events"]["n"], numbers["audio_events"]["cases"]) == (6, 3)
    assert "one, tiny: 6 clips of 3 cases" in result.stdout
    for head in ("n ", "paired", "re-paired", "difference", "95 %"):
        assert head in result.stdout
    assert {line.split()[0] for line in found["versions"]} >= {"harmony-parts", "torch"}
    for name in ("one", "two", "all"):
        with Image.open(Path("o", f"{name}.png")) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 5
    kept = [json.loads(line) for line in Path("o/scores.jsonl").read_text().splitlines()]
    assert [line["numbers"] for line in kept] == [line["numbers"] for line in side["clips"]]
    clip = Clip.read(Path("o/clips", side["clips"][0]["file"]))
    assert clip.frames.shape == (6, 16, 16, 3)  # the model's own format
    # other settings are refused before anything is lost
    refused = run(trained, "--cases", "cases.jsonl", "--out", "o", "--seed", "1", *FAST, fails=1)
    assert "exists with another seed" in refused.stderr


def test_a_folder_of_clips_is_scored_and_compared(run, tmp_path):
    """True sounds beat late ones by the interval of the difference."""
    good, late = flashes(tmp_path / "good", 7), flashes(tmp_path / "late", 7, 0.2)
    (good / "notes.txt").write_text("no clip")
    (late / "broken.mp4").write_bytes(b"no media")
    result = run(good, late, "--metric", "events", "--out", "o", "--device", "cpu", fails=1)
    assert "broken.mp4" in result.stderr
    found = report(Path("o"))
    sides = found["sets"]["clips"]
    clips = [Clip.read(file) for file in sorted(good.glob("*.mp4"))]
    for name, number in compare(Events(), clips).items():
        assert sides["good"]["events"][name].items() >= number.json().items()
    between = sides["good - late"]["events"]["video_matched"]
    assert between["cases"] == 7
    assert between["paired"] == 1
    assert between["difference_95"][0] > 0
    assert "good - late" in result.stdout
    # the names of cases choose the clips, and their sets
    cases = [{"name": f"clip{k}", "set": "even", "speech": "x"} for k in (0, 2)]
    jsonl(tmp_path / "two.jsonl", *cases)
    run(good, "--cases", "two.jsonl", "--out", "p", "--device", "cpu")
    assert [line["set"] for line in report(Path("p"))["sides"][0]["clips"]] == ["even", "even"]
    jsonl(tmp_path / "none.jsonl", {"name": "other"})
    message = run(good, "--cases", "none.jsonl", "--out", "q", fails=1).stderr
    assert "none of its 7 clips has the name of a case, such as other.mp4" in message


def test_mistakes_are_reported_before_anything_is_made(run, trained):
    assert (
        "did you mean 'one'"
        in run(trained, "--cases", "cases.jsonl", "--set", "onee", fails=1).stderr
    )
    assert "no model or run folder" in run("nowhere", fails=1).stderr
    assert not Path("bench").exists()


@pytest.mark.slow
def test_a_killed_benchmark_loses_at_most_one_case(run, trained, tmp_path):
    """SIGKILL after the second clip; then the others alone are made, and all are as without it."""
    words = ["bench", str(trained), "--cases", "cases.jsonl", *FAST, *LOOSE, "--out"]
    code = "from harmony_parts.cli.main import main; main()"
    # as many threads as here: sums are split between them, which changes their rounding
    threads = str(torch.get_num_threads())
    env = {**os.environ, "HARMONY_PARTS_PLUGINS": "none", "OMP_NUM_THREADS": threads}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "killed"],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    store, until = tmp_path / "killed/scores.jsonl", time.monotonic() + 200
    while time.monotonic() < until and process.poll() is None:
        if store.is_file() and len(store.read_text().splitlines()) >= 2:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = [json.loads(line) for line in store.read_text().splitlines()]
    assert 2 <= len(kept) <= 4
    before = {
        line["file"]: (tmp_path / "killed/clips" / line["file"]).stat().st_mtime_ns for line in kept
    }
    made = len(list((tmp_path / "killed/clips").glob("*/*.mp4")))
    assert made <= len(kept) + 1
    result = run(*words[1:], "killed")
    assert "of 4 clips already exist" in result.stdout
    after = {f: (tmp_path / "killed/clips" / f).stat().st_mtime_ns for f in before}
    assert before == after
    run(*words[1:], "whole")
    assert report(Path("killed"))["sets"].keys() == report(Path("whole"))["sets"].keys()
    one, other = (report(Path(name))["sets"]["all"] for name in ("killed", "whole"))
    assert one == other
