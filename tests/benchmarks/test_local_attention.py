"""The benchmark of local attention runs, and checks results before it times them."""

from __future__ import annotations

import json
import re
import time
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from click.testing import CliRunner

from harmony_parts.benchmarks import local_attention
from harmony_parts.benchmarks.alternatives import DIRECTIONS, Candidate, Problem, candidates
from harmony_parts.benchmarks.local_attention import SMALL, TOY, WAN_5S, WAN_10S, Shape, gate, main
from harmony_parts.benchmarks.measure import Clock, Times, step_memory

CPU = torch.device("cpu")


def test_quick_run_reports_every_candidate(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "report.json"
    done = CliRunner().invoke(main, ["--quick", "--device", "cpu", "--json", str(file)])
    assert done.exit_code == 0, done.output
    assert "Without triton" in done.output.replace("\n", " ")
    report = json.loads(file.read_text())
    assert "unfinished" not in report
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


@pytest.mark.parametrize("shape", [SMALL, WAN_5S, WAN_10S])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_windows_have_the_declared_width(direction: str, shape: Shape) -> None:
    made = shape.windows(direction)
    assert made.most_keys == (
        shape.audio_window if direction == DIRECTIONS[0] else shape.video_window
    )
    assert made.mask(shape.latents if direction == DIRECTIONS[0] else shape.frames).any(0).all()


@pytest.mark.parametrize("shape", [WAN_5S, WAN_10S])
def test_shapes_are_those_of_the_recipe(shape: Shape) -> None:
    """Heads, tokens and windows of harmony-5b, whose windows fill one tile of 16."""
    file = Path(local_attention.__file__).parents[1] / "recipes" / "harmony-5b.toml"
    recipe = tomllib.loads(file.read_text(encoding="utf-8"))
    branch, interaction = recipe["denoiser"]["video"], recipe["denoiser"]["interaction"]
    side = 16 * branch["patch"]  # pixels: Wan2.2's autoencoder makes a latent of 16 x 16
    tokens = (recipe["format"]["height"] // side) * (recipe["format"]["width"] // side)
    assert (shape.tokens, shape.heads) == (tokens, branch["heads"])
    assert shape.heads * shape.head == branch["width"]
    assert {shape.reach} == {interaction["audio_window"], interaction["video_window"]}
    for direction in DIRECTIONS:
        made = shape.windows(direction)
        assert max(made.most_keys, made.most_queries) == 16


def test_the_clock_leaves_the_hosts_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device sleeps before the first event for longer than the host took for the last call."""
    slept: list[float] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            slept.append(-1.0)

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, end: Any) -> float:
            return 0.25

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: slept.append(cycles / 2e9))
    on: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: on.append(device) or nullcontext())
    clock = Clock(CPU)
    clock.cuda = True
    first = clock(lambda: time.sleep(0.02))
    assert first.seconds == 0.25e-3
    assert 0.02 <= first.host < 1
    assert slept == [1e-3, -1.0, -1.0]
    clock(lambda: None)
    assert min(0.1, 1.5 * first.host) <= slept[3] <= 0.1
    assert on == [CPU, CPU]  # the clock's own device, which needn't be the current one


def test_memory_and_streams_of_a_gpu_are_asked_for_by_device() -> None:
    """The current device may be another one."""
    asked = "max_memory_allocated|memory_allocated|reset_peak_memory_stats|synchronize|mem_get_info"
    call = re.compile(rf"torch\.cuda\.({asked}|current_stream|Stream)\(\)")
    package = Path(local_attention.__file__).parents[1]
    for file in package.rglob("*.py"):
        assert not call.search(file.read_text(encoding="utf-8")), file


def test_a_cut_run_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed in its second direction: the first one's rows are there, marked unfinished."""
    file, plain = tmp_path / "report.json", local_attention.memory

    def killed(problem: Problem, passed: Any) -> Any:
        if problem.direction == DIRECTIONS[1]:
            raise SystemExit(137)
        return plain(problem, passed)

    monkeypatch.setattr(local_attention, "memory", killed)
    command = ["--quick", "--device", "cpu", "--json", str(file)]
    assert CliRunner().invoke(main, command).exit_code == 137
    report = json.loads(file.read_text())
    assert report["unfinished"] is True
    assert {row["direction"] for row in report["rows"]} == {DIRECTIONS[0]}


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
