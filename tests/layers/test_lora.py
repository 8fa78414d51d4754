"""Adapters of linear layers."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harmony_parts.layers.attention import Heads
from harmony_parts.layers.linear import Linear
from harmony_parts.layers.lora import adapted, attach, full_weight, is_adapted, merge


def adapted_layer(source: int, width: int, rank: int, alpha: float, seed: int) -> Linear:
    """A layer with a random adapter."""
    torch.manual_seed(seed)
    layer = Linear(source, width)
    attach(layer, rank, alpha)
    nn.init.normal_(layer.lora_B.weight)  # type: ignore[union-attr, arg-type]
    return layer


@settings(max_examples=20)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.floats(0.5, 8), st.integers(0, 9)
)
def test_merged_equals_unmerged(
    source: int, width: int, rank: int, alpha: float, seed: int
) -> None:
    """W x + b + (alpha / r) B A x in float64; both ways to float32's rounding."""
    with torch.random.fork_rng(devices=[]):
        layer = adapted_layer(source, width, rank, alpha, seed)
        x = torch.randn(5, source)
    a, b = layer.lora_A.weight.double(), layer.lora_B.weight.double()  # type: ignore[union-attr, operator]
    weight = layer.weight.double() + alpha / rank * (b @ a)
    wanted = x.double() @ weight.T + layer.bias.double()
    scale = float((x.double().abs() @ weight.abs().T).max()) + float(wanted.abs().max()) + 1
    names = set(layer.state_dict())
    assert (layer(x).double() - wanted).abs().max() < 1e-6 * scale
    assert torch.allclose(full_weight(layer).double(), weight, atol=1e-6 * scale)
    merge(layer)
    assert (layer(x).double() - wanted).abs().max() < 1e-6 * scale
    assert not is_adapted(layer)
    assert set(layer.state_dict()) == names - {"lora_A.weight", "lora_B.weight"}


def test_a_new_adapter_changes_nothing() -> None:
    layer = nn.Linear(4, 3)
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    before = layer(x)
    attach(layer, 2, 1.0)
    assert torch.equal(layer(x), before)
    with pytest.raises(ValueError, match="already has an adapter"):
        attach(layer, 2, 1.0)


def test_a_copy_has_an_adapter_of_its_own() -> None:
    with torch.random.fork_rng(devices=[]):
        layer = adapted_layer(3, 3, 1, 1.0, 0)
    twin, x = copy.deepcopy(layer), torch.ones(1, 3)
    merge(twin)
    assert is_adapted(layer)
    torch.testing.assert_close(twin(x), layer(x), rtol=1e-6, atol=1e-6)


def test_code_that_reads_a_weight_sees_the_adapter() -> None:
    """`out_without_bias` multiplies by the weight itself."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention = Heads(8, 2)
        attach(attention.o, 2, 3.0)
        nn.init.normal_(attention.o.lora_B.weight)  # type: ignore[union-attr, arg-type]
        x = torch.randn(1, 5, 2, 4)
    by_hook = attention.out(x) - attention.o.bias
    torch.testing.assert_close(attention.out_without_bias(x), by_hook, rtol=1e-5, atol=1e-6)
    assert [path for path, _ in adapted(attention)] == ["o"]


def test_adapters_of_a_half_precision_layer_stay_float32() -> None:
    layer = nn.Linear(4, 4).to(torch.bfloat16)
    attach(layer, 2, 2.0)
    out = layer(torch.ones(1, 4, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert layer.lora_A.weight.dtype == torch.float32  # type: ignore[union-attr]
