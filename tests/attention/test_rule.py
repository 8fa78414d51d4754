"""Which backends can run is said as they themselves say it."""

from __future__ import annotations

import sys

import pytest
import torch

from harmony_parts.attention.hooks import harmony_attention
from harmony_parts.attention.rule import backends


def test_every_backend_in_the_box_is_named() -> None:
    assert set(backends()) == {declared.name for declared in harmony_attention()}


@pytest.mark.parametrize("there", [True, False])
def test_triton_wants_a_cuda_device(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="Triton isn't installed here")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert backends()["triton"] == ("" if there else "there is no CUDA device")


def test_triton_wants_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert "can't be imported" in backends()["triton"]
