"""The FLOP of a training step, and how much of a device's peak a run reaches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV
from harmony_parts.cost.count import count_training, prepared_inputs, recompute_modes
from harmony_parts.cost.figures import build_empty
from harmony_parts.report.text import flops_text

PROBE = 256  # clips that a task plans, for the mean number of entries a clip
PEAKS = {
    "H200": {"float32": 67e12, "tf32": 494e12, "bfloat16": 989e12},
    "H100 80GB HBM3": {"float32": 67e12, "tf32": 494e12, "bfloat16": 989e12},
    "A100": {"float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12},
    "L40S": {"float32": 91.6e12, "tf32": 183e12, "bfloat16": 362e12},
}
"""Part of a GPU's name -> FLOP/s of dense matrix products (NVIDIA's data sheets of these GPUs)."""


def flops_per_step(recipe: Recipe) -> int:
    """FLOP of the denoiser in a step over a whole batch, forward and backward, on the meta device.

    As `harmony explain` counts a clip of the recipe's length with the longest texts, times the
    entries that the task plans for a batch; what is computed a second time to save memory isn't
    counted. Propagates any exception of a part that can't run on the meta device.
    """
    with torch.random.fork_rng(devices=[]):
        parts = build_empty(recipe)
        if not recompute_modes(parts.denoiser):
            raise ValueError("nothing of the denoiser is trained")
        one = count_training(parts.denoiser, prepared_inputs(parts), "nothing").flops
    lengths = parts.lengths()
    some = lengths[next(iter(lengths))]
    both = AV(lengths.video or some, lengths.audio or some)
    plan = recipe.task.plan(PROBE, recipe.flow.draw, torch.Generator().manual_seed(0), both)
    return round(one * recipe.train.batch * len(plan.source) / PROBE)


class Utilisation:
    """What a run achieves on each device, as text: "12.3 TFLOP/s, 41 % of the device's".

    `count()` gives the FLOP of a step over all `ranks` processes; it is called once, by the first
    text. The share is given for devices in PEAKS.
    """

    def __init__(self, count: Callable[[], int], ranks: int, peak: float | None) -> None:
        self._count, self.ranks, self.peak = count, ranks, peak

    @cached_property
    def flops(self) -> int | None:
        """FLOP of a step on each device; `None` if a part can't be counted."""
        try:
            return self._count() // self.ranks
        except Exception:  # of a third party's part, which needs values
            return None

    def text(self, seconds: float) -> str:
        """Of steps that take so many seconds; "" if it isn't known."""
        if not self.flops or not seconds:
            return ""
        rate = self.flops / seconds
        share = f" ({rate / self.peak:.0%} of the device's)" if self.peak else ""
        return f"{flops_text(round(rate))}/s{share}"


def peak_flops(device: torch.device, precision: str) -> float | None:
    """FLOP/s of a device's dense matrix products in a precision of training, if it is known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peaks.get(precision) for part, peaks in PEAKS.items() if part in name), None)
