"""The demo that trains: a quick run for its files, and a full one for what it learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.html_sources import sources
from PIL import Image

from harmony_parts.demo.train import train_demo
from harmony_parts.errors import RunError
from harmony_parts.media.clip import Clip
from harmony_parts.tasks.protocol import TASKS

QUICK = ("train.steps=3", "train.prepared=8", "data.size=8", "sample.steps=2", "denoiser.layers=1")


def test_the_demo_writes_all_its_files(tmp_path: Path) -> None:
    report = train_demo(tmp_path, clips=3, overrides=QUICK)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert [(m["task"], m["guidance"]) for m in report["made"]] == [
        (task, g) for task in TASKS for g in ("none", "sync-cfg")
    ]
    assert report["truth"]["video_matched"]["paired"] == 1
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 1200
    files = sources((tmp_path / "report.html").read_text())
    assert len([name for name in files if name.endswith(".mp4")]) == 3 * 7
    assert all((tmp_path / name).is_file() for name in files)
    clip = Clip.read(tmp_path / "clips" / "joint-sync-cfg-0.mp4")
    assert clip.frames.shape == (24, 192, 192, 3)
    assert clip.seconds == 2
    # a second run reuses the finished model; another seed is refused
    before = (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    assert (
        train_demo(tmp_path, clips=3, overrides=QUICK)["made"][0]["numbers"]
        == report["made"][0]["numbers"]
    )
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RunError, match="another recipe or seed"):
        train_demo(tmp_path, seed=1, clips=3, overrides=QUICK)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_learns_sync(tmp_path: Path) -> None:
    report = train_demo(tmp_path)
    for made in report["made"]:
        for share in ("video_matched", "audio_matched"):
            number = made["numbers"][share]
            assert number["difference"] > max(0.3, 4 * number["difference_error"]), (
                made["task"],
                made["guidance"],
                share,
            )
