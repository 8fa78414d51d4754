"""The benchmark of the denoiser, small and on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from harmony_parts.benchmarks import model as benchmark
from harmony_parts.benchmarks import model_steps
from harmony_parts.benchmarks.model import main
from harmony_parts.benchmarks.model_steps import Model, Result
from harmony_parts.strategies.launch import is_launched

SMALL = ("--recipe", "demo", "--layers", "1")


def test_measured_memory_matches_the_counted(tmp_path: Path) -> None:
    """Within 10 %: CPU kernels allocate differently from GPU kernels."""
    done = CliRunner().invoke(
        main,
        [*SMALL, "--device", "cpu", "--steps", "2", "--json", str(tmp_path / "out" / "model.json")],
    )
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "model.json").read_text())
    assert {"torch", "python"} <= set(found["versions"])
    assert found["inputs"]["video"] == [1, 24, 2, 2, 40]
    assert [result["what"] for result in found["results"]] == ["forward", "training step"]
    for result in found["results"]:
        assert result["layers"] == 1
        assert result["seconds"]["median"] > 0
        assert 0 < result["of_matmul"] < 1
        assert 0.9 < result["peak_bytes"] / result["predicted_bytes"] < 1.1, result
        assert f"{result['what']}, 1 layers: " in done.output


@pytest.mark.parametrize("options", [["--mixed"], ["--mixed", "--sharded"]])
@pytest.mark.filterwarnings("ignore:Mismatch dtype")
def test_a_step_of_float32_weights_in_bfloat16(options: list[str], tmp_path: Path) -> None:
    """Memory is counted from parts whose peaks needn't coincide, so the count is an upper bound.

    With divided weights there is only the step, beside blocks that are whole for a while.
    """
    file = tmp_path / "model.json"
    command = [*SMALL, "--device", "cpu", "--steps", "2", "--json", str(file), *options]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    found = json.loads(file.read_text())
    assert (found["dtype"], found["mixed"], "unfinished" in found) == ("float32", True, False)
    if "--sharded" in options:
        assert [x["what"] for x in found["results"]] == ["training step, divided"]
        assert found["results"][0]["peak_bytes"] is None
        assert not is_launched()
        return
    assert [x["what"] for x in found["results"]] == ["forward", "training step"]
    for result in found["results"]:
        assert 0.8 < result["peak_bytes"] / result["predicted_bytes"] < 1.1, result


def test_a_cut_run_keeps_the_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed in the training step."""
    plain = model_steps.measure

    def killed(model: Model, predicted: Result, *rest: Any) -> Result:
        if predicted.what != "forward":
            raise SystemExit(137)
        return plain(model, predicted, *rest)

    monkeypatch.setattr(benchmark, "measure", killed)
    file = tmp_path / "model.json"
    command = [*SMALL, "--device", "cpu", "--steps", "2", "--json", str(file)]
    assert CliRunner().invoke(main, command).exit_code == 137
    report = json.loads(file.read_text())
    assert report["unfinished"] is True
    assert [x["what"] for x in report["results"]] == ["forward"]


def test_the_meta_device_only_counts() -> None:
    done = CliRunner().invoke(main, [*SMALL, "--device", "meta"])
    assert done.exit_code == 0, done.output
    assert "measured" not in done.output
    assert "forward, 1 layers: " in done.output


def test_depth_is_the_greatest_that_fits() -> None:
    """Blocks of 10 bytes besides 100: one more wouldn't fit."""
    model = Model("demo", ("denoiser.layers=5",), torch.float32)

    def count(layers: int) -> Result:
        return Result("forward", layers, 0, 100 + 10 * layers)

    for free, layers in ((129, 2), (130, 3), (149, 4), (150, 5), (1000, 5), (0, 1), (None, 5)):
        assert model.deepest(count, free).layers == layers


def test_an_unknown_recipe_fails() -> None:
    done = CliRunner().invoke(main, ["--recipe", "nowhere", "--device", "meta"])
    assert done.exit_code == 1
    assert "nowhere" in done.output
