"""Layers that are brought to the device one by one, in any order and of any structure."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harmony_parts.models.layer_stream import ALIGNED, pin_layers, views
from harmony_parts.models.offload import (
    layers_of,
    weights_on_device,
)


class Nested(nn.Module):
    """All that a module can have: `ModuleList`s of one module, of several classes and of lists,
    a tied weight, a buffer, a layer that is called twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.single = nn.ModuleList([nn.Linear(4, 4)])
        self.mixed = nn.ModuleList([nn.Linear(4, 4), nn.ReLU()])
        self.lists = nn.ModuleList(
            [nn.ModuleList([nn.Linear(4, 4) for _ in range(2)]) for _ in range(2)]
        )
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.lists[0][0].weight
        self.register_buffer("shift", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        """Call every layer, some of them twice."""
        for layer in (
            *self.single,
            *self.mixed,
            *(layer for pair in self.lists for layer in pair),
            self.lists[1][0],
            self.tied,
        ):
            x = layer(x)
        return x + self.shift


def test_a_module_of_any_structure_is_streamed() -> None:
    module, x = Nested(), torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    want = module(x)
    assert len(layers_of(module)) == 4
    with weights_on_device(module, "cpu", "layers"):
        assert torch.equal(module(x), want)


class Gains(nn.Module):
    """Layers that add their own number, called in any order."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(layers))
        for n, layer in enumerate(self.layers):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, float(n))

    def forward(self, order: list[int]) -> list[float]:
        """The number that each call adds."""
        return [float(self.layers[n](torch.zeros(1))) for n in order]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 5).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), max_size=12))
    )
)
def test_layers_may_be_called_in_any_order(case: tuple[int, list[int]]) -> None:
    """Skipped, repeated, backwards: each call has its own layer's weights."""
    layers, order = case
    module = Gains(layers)
    with torch.no_grad(), weights_on_device(module, "cpu", "layers"):
        assert module(order) == order


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([torch.float32, torch.bfloat16, torch.bool, torch.int64]),
            st.lists(st.integers(0, 5), max_size=3),
        )
    )
)
def test_views_of_a_buffer_are_disjoint_and_aligned(
    forms: list[tuple[torch.dtype, list[int]]],
) -> None:
    """And have the shapes and types of their tensors."""
    tensors = [
        torch.randint(2, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
        for dtype, shape in forms
    ]
    buffer = torch.zeros(sum(-(-x.nbytes // ALIGNED) * ALIGNED for x in tensors), dtype=torch.uint8)
    made = views(buffer, tensors)
    for view, x in zip(made, tensors, strict=True):
        view.copy_(x)
    for view, x in zip(made, tensors, strict=True):
        assert (view.dtype, view.shape) == (x.dtype, x.shape)
        assert torch.equal(view, x)
        assert not x.numel() or (view.data_ptr() - buffer.data_ptr()) % ALIGNED == 0


def test_layers_are_pinned_once_if_they_fit() -> None:
    """The weights become views of one buffer per layer, with the same numbers."""
    layers = [nn.Linear(5, 3) for _ in range(3)]
    before = [layer.weight.detach().clone() for layer in layers]
    made: list[int] = []

    def allocate(size: int) -> Tensor:
        made.append(size)
        return torch.empty(size, dtype=torch.uint8)

    assert pin_layers(layers, 3 * 2 * ALIGNED - 1, allocate) is None
    assert made == []
    buffers = pin_layers(layers, 3 * 2 * ALIGNED, allocate)
    assert buffers is not None
    assert made == [2 * ALIGNED] * 3
    for layer, weight, buffer in zip(layers, before, buffers, strict=True):
        assert torch.equal(layer.weight, weight)
        assert layer.weight.data_ptr() == buffer.data_ptr()
        assert layer.bias.data_ptr() == buffer.data_ptr() + ALIGNED
    again = pin_layers(layers, 0, allocate)
    assert again is not None
    assert [x.data_ptr() for x in again] == [x.data_ptr() for x in buffers]
    layers[1].weight.data = before[1].clone()  # moved away since
    assert pin_layers(layers, 2 * ALIGNED, allocate) is not None
    assert len(made) == 4


def test_shared_weights_are_not_pinned() -> None:
    layers = [nn.Linear(4, 4) for _ in range(2)]
    layers[1].weight = layers[0].weight
    assert pin_layers(layers, 2**30, lambda size: torch.empty(size, dtype=torch.uint8)) is None
