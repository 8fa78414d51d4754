"""The numbers in docs/explanation/guidance.md are current."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.toy_guidance import gaussian, latents

from harmony_parts.av import AV
from harmony_parts.benchmarks.guidance import (
    GUIDANCES,
    main,
    overhead,
    passes_per_step,
    sizes,
    table,
)
from harmony_parts.denoisers.protocol import Port
from harmony_parts.flow.adams_bashforth import AdamsBashforth
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.heun import Heun
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.flow.unipc import UniPC
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.sample.passes import TOGETHER
from harmony_parts.sample.sampler import sample
from harmony_parts.testing.guidance_properties import PROPERTIES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "explanation" / "guidance.md").read_text(encoding="utf-8")
REPORT: dict[str, Any] = json.loads(
    (DOCS / "results" / "guidance.json").read_text(encoding="utf-8")
)


def solver_errors() -> dict[str, tuple[int, float]]:
    """Velocities and error of each solver for 40 unguided steps at shift 5."""
    model, noise = gaussian(), latents(64)
    values, vectors = torch.linalg.eigh(model.covariance)
    both = torch.cat([noise[s].flatten(1) for s in noise], dim=1)
    want = model.mean + both @ (vectors * values.sqrt() @ vectors.T)
    errors = {}
    for name, solver, velocities in (
        ("euler", Euler(), 40),
        ("heun", Heun(), 79),
        ("adams-bashforth", AdamsBashforth(), 40),
        ("unipc", UniPC(), 40),
    ):
        samples = sample(
            model,
            noise,
            {},
            codecs=AV(),
            guidance=NoGuidance(),
            solver=solver,
            shift=ConstantShift(5.0),
            path=StraightPath(),
            steps=40,
        )
        error = torch.cat([samples[s].flatten(1) for s in samples], dim=1) - want
        errors[name] = velocities, float(error.square().mean().sqrt())
    return errors


def solver_rows(errors: dict[str, tuple[int, float]]) -> str:
    """The rows of the page's table."""
    return "\n".join(
        f"| `{name}` | {velocities} | {error:.4f} |" for name, (velocities, error) in errors.items()
    )


def test_costs_are_those_of_the_report() -> None:
    assert table(REPORT) in PAGE
    assert sizes(REPORT) in PAGE
    assert overhead(REPORT) in PAGE
    assert REPORT["machine"] in PAGE


def test_the_effect_of_refresh_is_that_of_its_report() -> None:
    report = json.loads((DOCS / "results" / "refresh.json").read_text(encoding="utf-8"))
    for side in ("sync-cfg", "refresh-4"):
        scores, cost = report["scores"][side], report["cost"][side]
        cells = [
            f"{scores[name]['paired']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
            for name, digits in (("audio_matched", 3), ("offset_ms", 1), ("correlation_at_0", 3))
            for low, high in [scores[name]["paired_95"]]
        ]
        assert f"| {cost['codec_calls']} | {cost['clip_gflop']:g} | {' | '.join(cells)} |" in PAGE


def test_the_limit_of_batches_is_that_of_the_report() -> None:
    """In the report, batching is faster for all sizes up to the limit."""
    assert REPORT["together"]["default"] == TOGETHER
    assert all(
        row["together"] < row["apart"]
        for row in REPORT["together"]["sizes"]
        if row["latents"] <= TOGETHER
    )


def test_the_overhead_of_the_sampler_is_small() -> None:
    """At most 2 % of bare calls in the report; measuring it in a test would be unreliable."""
    assert REPORT["overhead"]["sampler"] <= 0.02 * REPORT["overhead"]["bare"]


def test_numbers_of_passes_are_current() -> None:
    class AllHints:
        accepts = MappingProxyType(dict.fromkeys(("caption", "sound"), Port("video", "context")))
        hints = frozenset({"isolate", "skip-1"})

    for name, row in REPORT["guidances"].items():
        assert passes_per_step(GUIDANCES[name], AllHints()) == row["passes"], name


def test_every_property_is_on_the_page() -> None:
    assert "\n".join(f"| `{each.name}` | {each.must} |" for each in PROPERTIES.values()) in PAGE


def test_errors_of_the_solvers_are_current() -> None:
    assert solver_rows(solver_errors()) in PAGE


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path) -> None:
    """It writes a report with all numbers on the page."""
    done = CliRunner().invoke(
        main, ["--rounds", "1", "--large", "", "--out", str(tmp_path / "report.json")]
    )
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert set(report) == set(REPORT)
    assert table(report) in done.output
    for name, row in REPORT["guidances"].items():
        assert report["guidances"][name]["passes"] == row["passes"]
        assert report["guidances"][name]["flops"] == row["flops"]
