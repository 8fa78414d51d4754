"""The benchmark of local attention runs, and checks results before it times them."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
import torch
from click.testing import CliRunner

from harmony_parts.benchmarks import local_attention
from harmony_parts.benchmarks.alternatives import DIRECTIONS, Candidate, Problem, candidates
from harmony_parts.benchmarks.local_attention import SMALL, TOY, gate, main
from harmony_parts.benchmarks.measure import Times, step_memory

CPU = torch.device("cpu")


def test_quick_run_reports_every_candidate(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "report.json"
    done = CliRunner().invoke(main, ["--quick", "--device", "cpu", "--json", str(file)])
    assert done.exit_code == 0, done.output
    assert "Without triton" in done.output.replace("\n", " ")
    report = json.loads(file.read_text())
    assert report["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert report["copy_bytes_per_second"] > 0
    names = {
        "eager",
        "gather + SDPA (math)",
        "gather + SDPA (flash)",
        "SDPA with a mask",
        "global SDPA, as in Ovi",
    }
    for direction in DIRECTIONS:
        rows = [row for row in report["rows"] if row["direction"] == direction]
        assert {row["name"] for row in rows} == names
        for row in rows:
            assert row["fault"] == ""
            assert (row["error"] is None) is (row["name"] == "global SDPA, as in Ovi")
            for passes in ("forward", "backward"):
                assert row[passes]["runs"] == 3
                assert (
                    0
                    < row[passes]["least"]
                    <= row[passes]["low"]
                    <= row[passes]["median"]
                    <= row[passes]["high"]
                )
        assert {
            each["name"] for each in report["memory"] if each["direction"] == direction
        } == names


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_wrong_candidates_are_not_timed(direction: str) -> None:
    problem = Problem.of(TOY, direction, CPU)
    right = next(iter(candidates(problem, compiled=False)))
    wide = attrs.evolve(
        problem, windows=attrs.evolve(TOY, audio_window=13, video_window=4).windows(direction)
    )
    other = attrs.evolve(next(iter(candidates(wide, compiled=False))), name="too wide")

    def raises(*inputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel\nat all")

    passed, rows = gate(problem, [right, other, Candidate("broken", raises)])
    assert passed == [right]
    assert [row.fault for row in rows] == ["", "wrong result", "RuntimeError: no kernel"]
    with pytest.raises(RuntimeError, match="no kernel"):
        gate(problem, [Candidate("broken", raises, ours=True)])


def test_a_wrong_result_of_this_library_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(local_attention.BOUND, torch.float32, 0.0)
    done = CliRunner().invoke(main, ["--quick", "--device", "cpu"])
    assert done.exit_code == 1
    assert "is wrong: see the table above" in done.output


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_windows_have_the_declared_width(direction: str) -> None:
    made = SMALL.windows(direction)
    assert made.most_keys == (
        SMALL.audio_window if direction == DIRECTIONS[0] else SMALL.video_window
    )
    assert made.mask(SMALL.latents if direction == DIRECTIONS[0] else SMALL.frames).any(0).all()


def test_step_memory_counts_saved_tensors_once_and_excludes_existing() -> None:
    x, y = torch.ones(1000, requires_grad=True), torch.ones(1000, requires_grad=True)

    def step() -> torch.Tensor:
        product = x * y  # saves x and y
        return product * product  # saves the product, twice

    assert step_memory(step, [x, y], CPU) == 4 * 1000
    assert step_memory(step, [x], CPU) == 2 * 4 * 1000


def test_times_are_quartiles() -> None:
    assert Times.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Times(3.0, 2.0, 4.0, 1.0, 5)


ROOT = Path(__file__).parents[2]


def test_the_page_shows_the_stored_results() -> None:
    """Every stored row is in docs/explanation/local-attention.md."""
    page = (ROOT / "docs/explanation/local-attention.md").read_text(encoding="utf-8")
    report = json.loads(
        (ROOT / "docs/results/local-attention-cpu.json").read_text(encoding="utf-8")
    )
    for direction in DIRECTIONS:
        rows = {row["name"]: row for row in report["rows"] if row["direction"] == direction}
        memory = {
            each["name"]: each["bytes"]
            for each in report["memory"]
            if each["direction"] == direction
        }
        for name, row in rows.items():
            assert row["fault"] == ""
            cells = [name + ("*" if row["turned"] else "")]
            for passes in ("forward", "backward"):
                median, low, high = (row[passes][each] * 1e3 for each in ("median", "low", "high"))
                faster = rows["SDPA with a mask"][passes]["median"] / row[passes]["median"]
                of_copy = (
                    row[f"{passes}_bytes"] / row[passes]["median"] / report["copy_bytes_per_second"]
                )
                cells += [
                    f"{median:.1f} ({low:.1f} to {high:.1f})",
                    f"{faster:.1f}",
                    f"{of_copy:.0%}",
                ]
            line = f"| {' | '.join(cells)} | {memory[name] / 1e6:.1f} |"
            assert line in page, line
