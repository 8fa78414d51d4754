"""Which backends can run on this machine."""

from __future__ import annotations

import sys

import pytest
import torch

from harmony_parts.attention.hooks import harmony_attention
from harmony_parts.attention.rule import backends


def test_every_built_in_backend_is_listed() -> None:
    assert set(backends()) == {declared.name for declared in harmony_attention()}


@pytest.mark.parametrize("available", [True, False])
def test_triton_needs_a_cuda_device(available: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="Triton isn't installed here")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert backends()["triton"] == ("" if available else "there is no CUDA device")


def test_triton_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert "can't be imported" in backends()["triton"]
