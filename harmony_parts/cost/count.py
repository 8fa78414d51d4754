"""Counts of single passes: FLOPs and bytes of the denoiser as it runs on the meta device.

A denoiser of many equal blocks is counted with two and with three of them, and extrapolated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, get_args

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import Parts
from harmony_parts.cost.flops import counted
from harmony_parts.cost.fused import fused_attention
from harmony_parts.cost.inputs import Inputs, inputs
from harmony_parts.cost.memory import Live
from harmony_parts.denoisers.protocol import Recompute, Recomputing
from harmony_parts.models.offload import part_modules


@attrs.frozen
class TrainingPass:
    """Forward and backward of one clip. Bytes exclude weights and accumulated gradients."""

    flops: int
    saved: int  # bytes saved for the backward pass
    saved_per_block: int  # of these, in each block; 0 if there are fewer than three
    peak: int  # most bytes at once
    sent: int = 0  # bytes to the other processes that share the clip


def prepared_inputs(parts: Parts) -> Inputs:
    """Inputs of the denoiser on the meta device, after a first pass.

    The first pass creates the tables that a denoiser caches, so that later counts exclude them. It
    skips all blocks but the first if the denoiser supports that.
    """
    given, denoiser = inputs(parts), parts.denoiser
    skips = denoiser.hints & {f"skip-{n}" for n in range(1, len(denoiser.blocks))}
    with torch.no_grad(), fused_attention():
        denoiser(given.av, given.times, given.conditions, hints=skips)
    return given


def count_forward(
    denoiser: Any, given: Inputs, read: tuple[str, ...], hints: frozenset[str]
) -> Counter[str]:
    """FLOPs of a pass, by step."""

    def count() -> Counter[str]:
        with torch.no_grad(), counted(denoiser) as flops:
            denoiser(given.av, given.times, given.conditions, read=read, hints=hints)
        return flops

    # a hint that names a block by its number needs all blocks
    by_number = any(hint.startswith("skip-") for hint in hints)
    return count() if by_number else extrapolated(denoiser, count)


def count_activations(denoiser: Any, given: Inputs) -> int:
    """Peak bytes of a pass without gradients."""

    def count() -> Counter[str]:
        with torch.no_grad(), fused_attention(), Live(existing_tensors(denoiser, given)) as live:
            denoiser(given.av, given.times, given.conditions)
        return Counter(peak=live.peak)

    return extrapolated(denoiser, count)["peak"]


def recompute_modes(denoiser: Any) -> tuple[str, ...]:
    """The values of `recompute` that a denoiser supports; empty if it has no trainable weights."""
    if not any(parameter.requires_grad for parameter in denoiser.parameters()):
        return ()
    return get_args(Recompute) if isinstance(denoiser, Recomputing) else ("nothing",)


def count_training(
    denoiser: Any, given: Inputs, recompute: str, *, sent: Callable[[], int] = lambda: 0
) -> TrainingPass:
    """Forward and backward of the mean square of all velocities.

    Each gradient is freed as soon as it is complete. `sent()`: bytes that were sent so far.
    """

    def count() -> Counter[str]:
        before = sent()
        with counted(denoiser) as flops, Live(existing_tensors(denoiser, given)) as live:
            loss = mean_square(denoiser, given)
            saved = live.now
            loss.backward()
        return Counter(flops=flops.total(), saved=saved, peak=live.peak, sent=sent() - before)

    handles = [
        p.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
        for p in denoiser.parameters()
    ]
    configured = getattr(denoiser, "recompute", None)
    try:
        if configured is not None:
            denoiser.recompute = recompute
        total, per_block = extrapolate(denoiser, count)
    finally:
        if configured is not None:
            denoiser.recompute = configured
        for handle in handles:
            handle.remove()
    names = total["flops"], total["saved"], per_block["saved"], total["peak"], total["sent"]
    return TrainingPass(*names)


def mean_square(denoiser: Any, given: Inputs) -> Tensor:
    """The mean square of all velocities: a loss that depends on every output."""
    velocity = denoiser(given.av, given.times, given.conditions)
    return torch.stack([velocity[stream].square().mean() for stream in velocity]).sum()


def extrapolated(denoiser: Any, count: Callable[[], Counter[str]]) -> Counter[str]:
    """`count()`, extrapolated from two and three blocks if all blocks are equal."""
    return extrapolate(denoiser, count)[0]


def extrapolate(
    denoiser: Any, count: Callable[[], Counter[str]]
) -> tuple[Counter[str], Counter[str]]:
    """`count()`, and the difference that each block makes: empty if it was counted in full."""
    blocks = denoiser.blocks if isinstance(denoiser.blocks, nn.ModuleList) else ()
    shapes = {tuple(tuple(p.shape) for p in block.parameters()) for block in blocks}
    if len(blocks) < 3 or len(shapes) > 1:
        return count(), Counter()
    counts = []
    try:
        for n in (2, 3):
            denoiser.blocks = blocks[:n]
            counts.append(count())
    finally:
        denoiser.blocks = blocks
    two, three = counts
    per_block = Counter({name: three[name] - two[name] for name in three})
    rest = len(blocks) - 3
    return Counter({name: three[name] + rest * per_block[name] for name in three}), per_block


def existing_tensors(denoiser: nn.Module, given: Inputs) -> Iterable[Tensor]:
    """The tensors that exist before a pass: weights, buffers and inputs."""
    for module in part_modules(denoiser):
        yield from (*module.parameters(), *module.buffers())
    for stream in given.av:
        yield from (given.av[stream], given.times[stream].values, given.times[stream].index)
    for condition in given.conditions.values():
        yield from (condition.tokens, condition.mask)
