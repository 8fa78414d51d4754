"""`harmony demo`: its options."""

from __future__ import annotations

import inspect

from harmony_parts.assembly.read import read_recipe


def test_the_options_reach_the_demo(harmony, tmp_path, monkeypatch):
    """tests/demo tests the demo itself."""
    from harmony_parts.demo import run

    signature, calls = inspect.signature(run.demo), []
    monkeypatch.setattr(
        run, "demo", lambda **given: calls.append(signature.bind(**given).arguments)
    )
    result = harmony(
        "demo", "--out", tmp_path, "--seed", "3", "--steps", "20", "--set", "train.batch=2"
    )
    assert result.exit_code == 0, result.output
    (given,) = calls
    assert given == {"out": tmp_path, "seed": 3, "overrides": ("train.steps=20", "train.batch=2")}
    assert read_recipe("demo", given["overrides"]).train.steps == 20
