"""Contract check of what is trained."""

from __future__ import annotations

import copy

import torch

from harmony_parts.testing.contracts.require import check_value, generator, require
from harmony_parts.testing.contracts.small_network import SmallNetwork
from harmony_parts.trainable.protocol import Trainable


def check_trainable(trainable: Trainable, network: torch.nn.Module | None = None) -> None:
    """Prepare a network [B, WIDTH] -> [B, WIDTH] (`SmallNetwork` by default) and check it.

    Checked: the network computes the same as before; its weights keep their names, values and
    number; something is trained, which gets gradients, and a step on it changes no frozen weight; a
    frozen weight isn't unfrozen; equal seeds give equal new weights. Raises PartContractError.
    """
    check_value(trainable)
    before = SmallNetwork() if network is None else network
    frozen = next(before.parameters())
    frozen.requires_grad_(False)
    prepared, twin = copy.deepcopy(before), copy.deepcopy(before)
    for module in (prepared, twin):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            trainable.prepare(module)
    x = torch.randn(6, SmallNetwork.WIDTH, generator=generator(1))
    require(
        torch.equal(prepared(x), before(x)), trainable, "leave what the model computes as it is"
    )
    old, new, again = (dict(m.named_parameters()) for m in (before, prepared, twin))
    kept = all(name in new and torch.equal(old[name], new[name]) for name in old)
    require(kept, trainable, "keep the names and values of the model's weights")
    require(
        new.keys() == again.keys() and all(torch.equal(new[n], again[n]) for n in new),
        trainable,
        "make the same new weights from the same seed",
    )
    was_frozen = next(name for name, p in old.items() if p is frozen)
    require(not new[was_frozen].requires_grad, trainable, "leave a frozen weight frozen")
    trained = [p for p in new.values() if p.requires_grad]
    require(trained, trainable, "leave some weights to train, or raise ValueError")
    prepared(x).square().mean().backward()
    require(
        any(p.grad is not None and bool(p.grad.any()) for p in trained),
        trainable,
        "train weights that the output depends on",
    )
    require(
        all(p.grad is None for p in new.values() if not p.requires_grad),
        trainable,
        "give frozen weights no gradient",
    )
