"""Contract check of strategies, in one process."""

from __future__ import annotations

import torch

from harmony_parts.strategies.protocol import Strategy, StrategySpec
from harmony_parts.testing.contracts.require import (
    check_made,
    generator,
    no_global_randomness,
    require,
)
from harmony_parts.testing.contracts.small_network import SmallNetwork


def check_strategy(spec: StrategySpec) -> Strategy:
    """Build a strategy in a single process, check its contract there, and return it.

    Checked: rank 0 of 1; weights keep their names and values; a process agrees with itself; a sum
    over one process is the tensor; gradients are scaled to the norm, and shorter ones left alone
    bit for bit. Raises PartContractError.
    """
    check_made(spec)
    shards = [spec.shards_of(ranks, min(ranks, 8)) for ranks in (1, 8, 64)]
    require(shards[0] == 1, spec, "leave a copy undivided in a single process")
    require(spec.seq >= 1, spec, "share a clip between 1 or more processes")
    require(all(n >= 0 for n in shards), spec, "divide a copy between 0 or more processes")
    strategy = spec.build(device=torch.device("cpu"))
    with strategy.together():
        _check(spec, strategy)
    return strategy


def _check(spec: StrategySpec, strategy: Strategy) -> None:
    is_one = (strategy.rank, strategy.ranks, strategy.seq) == (0, 1, 1)
    require(is_one, spec, "be rank 0 of 1 in a single process, which shares clips with no other")
    network, original = SmallNetwork(), SmallNetwork().state_dict()
    with no_global_randomness(spec):
        strategy.prepare([*network.layers, network])
    state = network.state_dict()
    require(state.keys() == original.keys(), spec, "keep the names of the weights")
    kept = all(torch.equal(state[name], original[name]) for name in state)
    require(kept, spec, "keep the values of the weights")
    numbers = torch.tensor([1.5, -2.0])
    require(torch.equal(strategy.sum(numbers), numbers), spec, "sum over its one process")
    alone = (strategy.agree(True), strategy.agree(False), strategy.gather("a"))
    require(alone == (True, False, ["a"]), spec, "agree with itself in a single process")
    whole = strategy.whole(state)
    kept = all(torch.equal(whole[name], original[name]) for name in original)
    require(kept, spec, "give whole tensors in process 0")
    x = torch.randn(6, SmallNetwork.WIDTH, generator=generator(1))
    network(x).square().sum().backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    before = [g.clone() for g in gradients]
    norm = torch.stack([g.square().sum() for g in before]).sum().sqrt()
    for limit, factor in ((0.0, 1.0), (float(norm) * 2, 1.0), (float(norm) / 4, 0.25)):
        for gradient, old in zip(gradients, before, strict=True):
            gradient.copy_(old)
        found = strategy.clip(network.parameters(), limit)
        near = found.ndim == 0 and torch.isclose(found.float(), norm, rtol=1e-5)
        require(near, spec, "return the norm of the gradients before clipping")
        tolerance = 0.0 if factor == 1 else 1e-4
        scaled = all(
            torch.allclose(g, old * factor, rtol=tolerance, atol=0)
            for g, old in zip(gradients, before, strict=True)
        )
        require(scaled, spec, f"clip gradients of norm {norm:.3g} to {limit:.3g} (0: never)")
