"""`--quick`: all of a benchmark runs, within seconds, and its figures aren't taken for measured
ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harmony_parts.benchmarks import guidance, local_attention, model
from harmony_parts.benchmarks.measure import QUICK, keep

KEPT = Path(__file__).parents[2] / "docs" / "results"


def test_guidance(tmp_path: Path) -> None:
    file = tmp_path / "new" / "guidance.json"
    done = CliRunner().invoke(guidance.main, ["--quick", "--out", str(file)])
    assert done.exit_code == 0, done.output
    report, kept = json.loads(file.read_text()), json.loads((KEPT / "guidance.json").read_text())
    assert set(report) == {*kept, "quick"}
    assert (report["quick"], report["rounds"], report["at_size"]) == (True, 1, {})
    assert guidance.table(report) in done.output
    assert QUICK in done.output
    for name, row in kept["guidances"].items():
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
def test_what_was_measured_is_not_overwritten(
    main: click.Command, option: str, kept: str, tmp_path: Path
) -> None:
    """And that is told before anything is run."""
    file = tmp_path / "kept.json"
    file.write_text(kept)
    done = CliRunner().invoke(main, ["--quick", option, str(file)])
    assert done.exit_code == 2
    assert "choose another file, or leave --quick out" in done.output
    assert file.read_text() == kept


def test_a_quick_report_may_be_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    for quick, now in (
        (True, {"figure": 1}),
        (True, {"figure": 2}),
        (False, {"figure": 3}),
        (False, {"figure": 4}),
    ):
        keep(now, file, quick)
        assert json.loads(file.read_text()) == ({"quick": True} if quick else {}) | now
    with pytest.raises(click.UsageError, match=r"report\.json holds what isn't a quick run's"):
        keep({"figure": 5}, file, quick=True)
