"""`--quick` runs all of a benchmark in seconds, and marks its figures."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from harmony_parts.benchmarks import guidance, local_attention, model, soundstage
from harmony_parts.benchmarks.measure import QUICK, write_report
from harmony_parts.models.shipped import shipped_models

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_guidance(tmp_path: Path) -> None:
    file = tmp_path / "new" / "guidance.json"
    done = CliRunner().invoke(guidance.main, ["--quick", "--out", str(file)])
    assert done.exit_code == 0, done.output
    report, stored = (
        json.loads(file.read_text()),
        json.loads((RESULTS / "guidance.json").read_text()),
    )
    assert set(report) == {*stored, "quick"}
    assert (report["quick"], report["rounds"], report["at_size"]) == (True, 1, {})
    assert guidance.table(report) in done.output
    assert QUICK in done.output
    for name, row in stored["guidances"].items():
        assert report["guidances"][name]["passes"] == row["passes"]


def test_model(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    done = CliRunner().invoke(model.main, ["--quick", "--device", "cpu", "--json", str(file)])
    assert done.exit_code == 0, done.output
    assert QUICK in done.output
    report = json.loads(file.read_text())
    assert (report["quick"], report["recipe"]) == (True, "demo")
    assert [(result["layers"], result["seconds"]["runs"]) for result in report["results"]] == [
        (1, 2),
        (1, 2),
    ]


@pytest.mark.parametrize(
    ("main", "option"),
    [(guidance.main, "--out"), (model.main, "--json"), (local_attention.main, "--json")],
)
@pytest.mark.parametrize("kept", ['{"rounds": 7}', '{"quick": false}', "[]", "no report", ""])
def test_quick_does_not_overwrite_measured_reports(
    main: click.Command, option: str, kept: str, tmp_path: Path
) -> None:
    """It fails before it runs anything."""
    file = tmp_path / "kept.json"
    file.write_text(kept)
    done = CliRunner().invoke(main, ["--quick", option, str(file)])
    assert done.exit_code == 2
    assert "choose another file, or leave --quick out" in done.output
    assert file.read_text() == kept


def test_quick_reports_may_be_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    for quick, now in (
        (True, {"figure": 1}),
        (True, {"figure": 2}),
        (False, {"figure": 3}),
        (False, {"figure": 4}),
    ):
        write_report(now, file, quick)
        assert json.loads(file.read_text()) == ({"quick": True} if quick else {}) | now
    with pytest.raises(click.UsageError, match=r"report\.json is not the report of a quick run"):
        write_report({"figure": 5}, file, quick=True)


def test_the_sheet_shows_codecs_below_the_truth(tmp_path: Path) -> None:
    """Six cases of a row of the truth and one of dct: six frames of 64 pixels, twice as large."""
    file = tmp_path / "sheet.png"
    done = CliRunner().invoke(soundstage.main, ["--sheet", str(file)])
    assert done.exit_code == 0, done.output
    pixels = np.asarray(Image.open(file).convert("RGB")).astype(float)
    assert pixels.shape == (6 * 2 * 128, 6 * 128, 3)
    truth, coded = pixels.reshape(6, 2, 128, 768, 3).swapaxes(0, 1)
    far = np.abs(truth[:, None] - coded).mean((2, 3, 4))  # [case of truth, case of dct]
    assert far.argmin(0).tolist() == list(range(6))
    assert (far.diagonal() > 0).all()


def test_soundstage(tmp_path: Path) -> None:
    file = tmp_path / "soundstage.json"
    codec = shipped_models()["harmony-tiny"] / "codec-video.safetensors"
    words = ["--quick", "--codec", str(codec), "--out", str(file)]
    done = CliRunner().invoke(soundstage.main, words)
    assert done.exit_code == 0, done.output
    report = json.loads(file.read_text())
    assert (report["quick"], report["cases"]) == (True, 3)
    assert soundstage.table(report) in done.output
    ambient = report["sets"]["ambient"]
    assert ambient["truth_f1"] == {"video": 1.0, "audio": 1.0}
    # Sound that is late is matched no better, and neither is a clip without sound or motion.
    late = [each["offset_ms"] for each in list(ambient["shifts"].values())[:3]]
    assert late == sorted(late)
    assert ambient["spoilt"]["mute"]["video_matched"] == 0
    assert not ambient["spoilt"]["still"]["audio_matched"]
    (together,) = report["together"].values()
    assert together["f1"] == {"truth": 1.0, "coded": 1.0}
    mouth = together["mouth_correlation"]
    assert 0.5 * mouth["truth"] < mouth["coded"] <= mouth["truth"] + 0.05
