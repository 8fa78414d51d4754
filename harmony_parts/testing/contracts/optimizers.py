"""Contract check of optimizers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.optim import Optimizer

from harmony_parts.optimizers.protocol import OptimizerSpec
from harmony_parts.testing.contracts.require import (
    check_made,
    generator,
    no_global_randomness,
    require,
)
from harmony_parts.testing.contracts.small_network import SmallNetwork

STEPS = 3


def check_optimizer(spec: OptimizerSpec) -> Optimizer:
    """Build an optimizer over a small network, check its contract, and return it.

    Checked: a torch optimizer over each trained parameter once and no frozen one; rates above 0; no
    random numbers; equal steps for equal gradients; a state of tensors from which another one
    continues bit-equal; a loss that falls. Raises PartContractError.
    """
    check_made(spec)
    network = _fresh()
    with no_global_randomness(spec):
        optimizer = spec.build(modules=network)
    require(isinstance(optimizer, Optimizer), spec, "build a torch.optim.Optimizer")
    groups = optimizer.param_groups
    numbers = sorted(id(p) for group in groups for p in group["params"])
    trained = [p for p in network.parameters() if p.requires_grad]
    require(
        numbers == sorted(map(id, trained)),
        spec,
        "have each parameter that requires gradients once, and no other one",
    )
    require(all(group["lr"] > 0 for group in groups), spec, "have a learning rate above 0")
    first = _run(spec, network, optimizer)
    _check_state(spec, network, optimizer)
    second_network = _fresh()
    again = _run(spec, second_network, spec.build(modules=second_network))
    require(first == again, spec, "take the same steps for the same gradients")
    for _ in range(20):
        last = _run(spec, network, optimizer)
    require(last[-1] < first[0], spec, "lower a loss")
    return optimizer


def _fresh() -> SmallNetwork:
    network = SmallNetwork()
    network.frozen.requires_grad_(False)
    return network


def _run(
    spec: OptimizerSpec, network: SmallNetwork, optimizer: Optimizer, steps: int = STEPS
) -> list[float]:
    """The losses of some steps."""
    losses = []
    x = torch.randn(16, SmallNetwork.WIDTH, generator=generator(1))
    for _ in range(steps):
        loss = (network(x) - x.flip(1)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        before = network.frozen.weight.clone()
        with no_global_randomness(spec):
            optimizer.step()
        require(torch.equal(before, network.frozen.weight), spec, "leave frozen weights alone")
        losses.append(loss.item())
    return losses


def _check_state(spec: OptimizerSpec, network: SmallNetwork, optimizer: Optimizer) -> None:
    """The state is tensors, and a copy of network and state continues bit-equal."""
    state = optimizer.state_dict()
    require(
        all(isinstance(v, Tensor) for values in state["state"].values() for v in values.values()),
        spec,
        "keep its state as tensors",
    )
    twin = _fresh()
    twin.load_state_dict(network.state_dict())
    loaded = spec.build(modules=twin)
    loaded.load_state_dict(copy.deepcopy(state))
    apart = (copy.deepcopy(network), twin)
    original = spec.build(modules=apart[0])
    original.load_state_dict(copy.deepcopy(state))
    losses = [
        _run(spec, module, each) for module, each in zip(apart, (original, loaded), strict=True)
    ]
    same = all(torch.equal(a, b) for a, b in zip(apart[0].parameters(), twin.parameters()))
    require(losses[0] == losses[1] and same, spec, "continue bit-equal from a saved state")
