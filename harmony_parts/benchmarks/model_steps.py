"""A pass and a training step of a denoiser at any depth: counted, and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.benchmarks.measure import Clock, Times
from harmony_parts.cost.account import GATHERED_BLOCKS
from harmony_parts.cost.count import (
    count_activations,
    count_forward,
    count_training,
    existing_tensors,
    prepared_inputs,
)
from harmony_parts.cost.flops import counted
from harmony_parts.cost.inputs import Inputs
from harmony_parts.cost.memory import Live
from harmony_parts.errors import HarmonyError
from harmony_parts.strategies.protocol import Strategy
from harmony_parts.train.precision import autocast

WARM_UP = 2


@attrs.frozen
class Result:
    """Counted FLOPs and bytes of `what`, a pass or a training step; measurements if it was run."""

    what: str
    layers: int
    flops: int
    predicted_bytes: int
    peak_bytes: int | None = None
    seconds: Times | None = None
    host_seconds: Times | None = None  # until the host had started it
    of_matmul: float | None = None  # FLOP/s relative to a large matrix product


class Model:
    """A denoiser on the meta device, to be counted or run at any depth.

    `mixed`: products in bfloat16 with weights of `dtype`, as train.precision = "bfloat16" does.
    """

    def __init__(
        self, recipe: str, overrides: tuple[str, ...], dtype: torch.dtype, mixed: bool = False
    ) -> None:
        self.recipe = read_recipe(recipe, overrides)
        parts = build(self.recipe, empty=("codecs", "encoders", "denoiser"))
        self.denoiser = cast(Any, parts.denoiser)
        self.blocks = self.denoiser.blocks
        if not isinstance(self.blocks, nn.ModuleList):
            raise HarmonyError(
                f"{recipe}: the denoiser's blocks aren't an nn.ModuleList, so its depth can't be"
                " changed; choose a recipe whose denoiser is made of such blocks"
            )
        self.denoiser.to(dtype)
        self.dtype, self.mixed = dtype, mixed
        self.given = prepared_inputs(parts)

    def at(self, layers: int) -> nn.Module:
        """The denoiser with only its first `layers` blocks."""
        self.denoiser.blocks = self.blocks[:layers]
        return cast(nn.Module, self.denoiser)

    def forward(self, layers: int) -> Result:
        """Count a pass: weights, inputs and activations."""
        model = self.at(layers)
        steps = count_forward(model, self.given, tuple(self.given.av), frozenset())
        size = _bytes(model, self.given) + self._copies(model)
        with self._as_computed():
            return Result(
                "forward", layers, steps.total(), size + count_activations(model, self.given)
            )

    def training(self, layers: int) -> Result:
        """Count a training step: weights, AdamW's moments, inputs, activations and gradients."""
        model = self.at(layers)
        with counted(model) as steps, Live(existing_tensors(model, self.given)) as live:
            loss(model, self.given).backward()
        model.zero_grad()
        weights = sum(x.numel() * x.element_size() for x in model.parameters())
        size = _bytes(model, self.given) + 2 * weights  # AdamW's moments
        if not self.mixed:
            return Result("training step", layers, steps.total(), size + live.peak)
        # gradients are float32, activations bfloat16: counted apart
        mode = getattr(model, "recompute", "nothing")
        with self._as_computed():
            activations = count_training(model, self.given, mode).peak
        size += weights + self._copies(model) + activations
        return Result("training step", layers, steps.total(), size)

    def _copies(self, model: nn.Module) -> int:
        """Bytes of the weights' copies in bfloat16, which autocast keeps during a pass."""
        return 2 * sum(x.numel() for x in model.parameters()) if self.mixed else 0

    @contextmanager
    def _as_computed(self) -> Iterator[None]:
        """The weights in the type of the products, to count activations."""
        self.denoiser.to(torch.bfloat16 if self.mixed else self.dtype)
        try:
            yield
        finally:
            self.denoiser.to(self.dtype)

    def deepest(self, count: Callable[[int], Result], free: int | None) -> Result:
        """The counted result at the greatest depth that fits into `free` bytes.

        Relies on memory growing at least linearly with depth.
        """
        whole = count(len(self.blocks))
        if free is None or whole.predicted_bytes <= free or whole.layers < 3:
            return whole
        shallow = count(2)
        each = (whole.predicted_bytes - shallow.predicted_bytes) / (whole.layers - 2)
        return count(max(1, int(2 + (free - shallow.predicted_bytes) // each)))


def loss(denoiser: Any, given: Inputs) -> Tensor:
    """The mean square of all velocities."""
    velocity = denoiser(given.av, given.times, given.conditions)
    return torch.stack([velocity[stream].float().square().mean() for stream in velocity]).sum()


def _divided(predicted: Result, denoiser: Any) -> Result:
    """The prediction with the blocks that are whole for a while beside the divided weights."""
    largest = max(sum(p.nbytes for p in block.parameters()) for block in denoiser.blocks)
    return attrs.evolve(
        predicted,
        what=f"{predicted.what}, divided",
        predicted_bytes=predicted.predicted_bytes + GATHERED_BLOCKS * largest,
    )


def _bytes(model: nn.Module, given: Inputs) -> int:
    """Bytes of weights and inputs."""
    return sum(x.untyped_storage().nbytes() for x in existing_tensors(model, given))


def measure(
    model: Model,
    predicted: Result,
    device: torch.device,
    runs: int,
    peak: float,
    strategy: Strategy | None = None,
) -> Result:
    """The result with measured time and bytes, from random weights and inputs on the device.

    `strategy` divides the weights before; on a CPU their memory isn't measured then.
    """
    generator = torch.Generator().manual_seed(0)
    denoiser: Any = model.at(predicted.layers).to_empty(device=device)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.normal_(std=0.02)
    given = model.given.random(device, generator)
    if strategy is not None:
        predicted = _divided(predicted, denoiser)
        strategy.prepare([*denoiser.blocks, denoiser])
    train = predicted.what != "forward"
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-6, fused=True) if train else None

    def compute(*given: Any) -> Any:
        with autocast("bfloat16" if model.mixed else "float32", device):
            return denoiser(*given)

    def step() -> None:
        if optimizer is None:
            with torch.no_grad():
                compute(given.av, given.times, given.conditions)
            return
        loss(compute, given).backward()
        optimizer.step()
        optimizer.zero_grad()

    clock = Clock(device)
    for _ in range(WARM_UP):
        step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    timed = [clock(step) for _ in range(runs)]
    used: int | None
    if device.type == "cuda":
        used = torch.cuda.max_memory_allocated(device) - clock.flush.nbytes
    elif strategy is not None:
        used = None
    else:  # CPU allocators report no peak: track live tensors in one more run
        moments = (
            [x for state in optimizer.state.values() for x in state.values()] if optimizer else []
        )
        with Live([*existing_tensors(denoiser, given), *moments]) as live:
            step()
        used = _bytes(denoiser, given) + sum(x.nbytes for x in moments) + live.peak
    if strategy is None:
        denoiser.to("meta")
    times = Times.of([one.seconds for one in timed])
    return attrs.evolve(
        predicted,
        peak_bytes=used,
        seconds=times,
        host_seconds=Times.of([one.host for one in timed]),
        of_matmul=predicted.flops / times.median / peak,
    )
