"""The FLOP of a training step, and the share of a device's peak."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.cost.account import account
from harmony_parts.cost.figures import build_empty
from harmony_parts.tasks.joint import Joint
from harmony_parts.train.flops import PEAKS, Utilisation, flops_per_step, peak_flops
from harmony_parts.train.log import INTERVAL, Log


def test_a_step_costs_what_explain_counts_times_the_tasks_entries() -> None:
    """The weighted sum of three tasks has three entries a clip; nothing random is drawn."""
    recipe = attrs.evolve(tiny.recipe(batch=5), task=Joint())
    torch.manual_seed(3)
    counted = flops_per_step(recipe)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert counted == 5 * account(recipe, build_empty(recipe)).training["nothing"].flops
    assert flops_per_step(tiny.recipe(batch=5)) == 3 * counted


def test_the_share_is_shown_where_the_peak_is_known() -> None:
    text = Utilisation(lambda: 8 * 10**12, 4, 1e13).text
    assert text(0.5) == "4 TFLOP/s (40% of the device's)"
    assert Utilisation(lambda: 8 * 10**12, 4, None).text(0.5) == "4 TFLOP/s"
    assert text(0.0) == ""


def test_a_part_that_cannot_be_counted_costs_the_figure_alone() -> None:
    calls = []

    def count() -> int:
        calls.append(1)
        raise NotImplementedError

    flops = Utilisation(count, 1, None)
    assert [flops.text(1.0), flops.text(1.0)] == ["", ""]
    assert len(calls) == 1


def test_peaks_are_of_named_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_flops(torch.device("cpu"), "float32") is None
    for name, peak in (("NVIDIA H200", PEAKS["H200"]["bfloat16"]), ("NVIDIA X9", None)):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)
        assert peak_flops(torch.device("cuda"), "bfloat16") == peak


def test_the_progress_line_has_it_once_a_run_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record: dict[str, Any] = {"step": 40, "loss": 0.5, "losses": {}, "seconds_per_step": 0.5}
    flops = Utilisation(lambda: 6 * 10**9, 1, None)
    with Log(tmp_path, step=0, steps=40, progress=True, utilisation=flops) as log:
        log.show(record)
        log._began -= INTERVAL
        log.show(record)
    early, late = capsys.readouterr().err.splitlines()
    assert "FLOP" not in early
    assert re.search(r"0\.500 s a step, 12 GFLOP/s, [\d.]+ [MG]iB", late)
