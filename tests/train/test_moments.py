"""The optimizer's state by name."""

from __future__ import annotations

import pytest
import torch

from harmony_parts.optimizers.adamw import AdamW
from harmony_parts.testing.contracts.small_network import SmallNetwork
from harmony_parts.train.moments import load_moments, moments

KEYS = ("step", "exp_avg", "exp_avg_sq")


def test_a_state_moves_between_other_groups() -> None:
    """Names don't depend on the number or the order of an optimizer's groups."""
    network = SmallNetwork()
    trained = dict(network.named_parameters())
    one = AdamW(weight_decay=0.1).build(modules=network)
    other = AdamW(weight_decay=0.1, decays="all").build(modules=network)
    assert (len(one.param_groups), len(other.param_groups)) == (2, 1)
    network(torch.ones(2, SmallNetwork.WIDTH)).square().sum().backward()
    one.step()
    saved = moments(one, trained)
    load_moments(other, trained, saved)
    again = moments(other, trained)
    assert again.keys() == saved.keys() == {f"{name}/{key}" for name in trained for key in KEYS}
    assert all(torch.equal(saved[name], again[name]) for name in saved)
    for name, parameter in trained.items():
        assert parameter.grad is not None
        torch.testing.assert_close(saved[f"{name}/exp_avg"], 0.1 * parameter.grad)


def test_a_state_of_unknown_weights_is_refused() -> None:
    network = SmallNetwork()
    trained = dict(network.named_parameters())
    optimizer = AdamW().build(modules=network)
    with pytest.raises(KeyError, match="nothing"):
        load_moments(optimizer, trained, {"nothing/exp_avg": torch.zeros(1)})
