"""`harmony demo`: its options."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from harmony_parts.assembly.read import read_recipe
from harmony_parts.demo import run, train


@pytest.fixture
def calls(monkeypatch):
    """What the command calls, and the arguments by name; tests/demo tests the demos themselves."""
    found = []
    for module, name in ((run, "demo"), (train, "train_demo")):
        signature = inspect.signature(getattr(module, name))

        def record(*given, name=name, signature=signature, **named):
            found.append((name, signature.bind(*given, **named).arguments))

        monkeypatch.setattr(module, name, record)
    return found


def test_the_options_reach_the_demo(harmony, tmp_path, calls):
    assert harmony("demo").exit_code == 0
    assert harmony("demo", "--out", tmp_path, "--seed", "3", "--model", "mine").exit_code == 0
    assert calls == [
        ("demo", {"out": Path("out/demo"), "model": "harmony-tiny", "seed": 0}),
        ("demo", {"out": tmp_path, "model": "mine", "seed": 3}),
    ]


def test_the_options_reach_the_demo_that_trains(harmony, tmp_path, calls):
    options = ("--train", "--out", tmp_path, "--seed", "3", "--steps", "20")
    result = harmony("demo", *options, "--set", "train.batch=2")
    assert result.exit_code == 0, result.output
    ((name, given),) = calls
    assert name == "train_demo"
    assert given == {"out": tmp_path, "seed": 3, "overrides": ("train.steps=20", "train.batch=2")}
    assert read_recipe("demo", given["overrides"]).train.steps == 20


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--steps", "20"), "add --train"),
        (("--set", "train.batch=2"), "add --train"),
        (("--train", "--model", "mine"), "leave --model out"),
    ],
)
def test_options_of_the_other_demo_are_refused(harmony, calls, options, error):
    result = harmony("demo", *options)
    assert result.exit_code == 2
    assert error in result.output
    assert not calls
