"""The cost account of a recipe: FLOPs of its passes, memory of inference and of training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import Parts
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV, STREAMS
from harmony_parts.cost.anchors import CodecWork, anchor_work
from harmony_parts.cost.count import (
    TrainingPass,
    count_activations,
    count_forward,
    count_training,
    prepared_inputs,
    recompute_modes,
)
from harmony_parts.cost.inputs import Inputs
from harmony_parts.cost.parameters import Weights, parameters
from harmony_parts.cost.shared import count_shared
from harmony_parts.denoisers.protocol import Recomputing
from harmony_parts.flow.protocol import Solver
from harmony_parts.guidance.protocol import StepTimes
from harmony_parts.models.offload import Offload, resident_bytes
from harmony_parts.sample.pass_graph import DenoiserRun, first_runs
from harmony_parts.tasks.protocol import TASKS

STATE_BYTES = 16  # per trained number: see `Account.training_memory`
AVERAGE_BYTES = 4
# blocks that FSDP holds whole: the active one, the prefetched one, and the gradients of one
GATHERED_BLOCKS = 3


@attrs.frozen
class TrainingMemory:
    """Bytes on a GPU in a training step."""

    weights: int
    gradients: int
    optimizer: int  # moments, and float32 copies of weights in 16 bits
    average: int  # of the weights
    gathered: int  # blocks that are whole for a while
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(attrs.astuple(self))


@attrs.frozen
class Account:
    """The cost of one clip of the format's length, in type `dtype`.

    Bytes, and FLOPs: a multiplication and an addition are two operations.
    """

    dtype: str
    parameters: Mapping[str, Weights]
    largest_block: int  # numbers in the largest block, or in the denoiser if it has no blocks
    averaged: bool  # whether training keeps an average of the weights
    steps: Mapping[str, int]  # FLOPs of a pass that reads every stream, by step
    tasks: Mapping[str, Mapping[str, int]]  # task -> names of each pass -> FLOPs
    velocities: int  # evaluations per step of the solver
    sampling_steps: int
    # task -> the codecs' work for anchors over a clip; empty if a codec can't run on shapes
    anchors: Mapping[str, CodecWork]
    activations: int  # peak bytes of that pass, besides weights and inputs
    others: Mapping[str, int]  # bytes of the weights of each other model that the guidance names
    # peak bytes of weights and that pass, by offload mode
    offloaded: Mapping[Offload, int]
    training: Mapping[str, TrainingPass]  # by recompute mode; empty if nothing is trained
    recompute: str = "nothing"  # the mode that the recipe sets
    # one of several processes that share a clip, as the recipe sets it; a string is why they can't
    shared: TrainingPass | str | None = None

    def per_step(self, task: str) -> int:
        """FLOPs of a sampling step."""
        return self.velocities * sum(self.tasks[task].values())

    def per_clip(self, task: str) -> int:
        """FLOPs of a clip with its anchors, without encoders and the codecs' work on the clip."""
        anchors = self.anchors.get(task)
        passes = self.sampling_steps * self.per_step(task)
        return passes + (0 if anchors is None else anchors.flops)

    def plain_passes(self, task: str) -> float:
        """FLOPs of a clip, relative to the same number of velocities without guidance."""
        velocities = self.sampling_steps * self.velocities
        return self.per_clip(task) / (velocities * sum(self.steps.values()))

    @property
    def trained(self) -> int:
        """How many numbers training updates."""
        return sum(weights.numbers for weights in self.parameters.values() if weights.trained)

    @property
    def weights_bytes(self) -> int:
        """Bytes of the trained parts, in `dtype`."""
        return self.trained * getattr(torch, self.dtype).itemsize

    @property
    def frozen_bytes(self) -> int:
        """Bytes of codecs and frozen encoders, in their own types."""
        return sum(weights.bytes for weights in self.parameters.values() if not weights.trained)

    def inference_bytes(self) -> int:
        """Bytes of all weights, and the activations of a pass."""
        others = sum(self.others.values())
        return self.weights_bytes + self.frozen_bytes + others + self.activations

    def training_memory(
        self, recompute: str, shards: int = 1, one: TrainingPass | None = None
    ) -> TrainingMemory:
        """Memory of each GPU if n of them divide a copy of the weights, with one clip on each, or
        its part of one clip, `one`:

            16 P / n  (+ 4 P / n with an average of the weights)  +  3 b s, if n > 1  +
            activations

        P trained numbers, b numbers in the largest block, s bytes per number in `dtype`. In float32
        the 16 bytes are weight, gradient and AdamW's two moments; in 16 bits weight and gradient
        take 2 each, and there is a float32 copy of the weight. FSDP shards all of that, with
        gradients reduced in float32.
        """
        size = getattr(torch, self.dtype).itemsize
        own = self.trained / shards
        return TrainingMemory(
            weights=round(size * own),
            gradients=round(size * own),
            optimizer=round((STATE_BYTES - 2 * size) * own),
            average=round(AVERAGE_BYTES * own) if self.averaged else 0,
            gathered=GATHERED_BLOCKS * self.largest_block * size if shards > 1 else 0,
            activations=(one or self.training[recompute]).peak,
        )


def account(
    recipe: Recipe,
    parts: Parts,
    dtype: torch.dtype = torch.float32,
    others: Mapping[str, Parts] = MappingProxyType({}),
) -> Account:
    """The account of a recipe's parts, which are moved to the meta device.

    `others`: the parts of the models that its guidance names. Propagates any exception of a part
    that can't run there.
    """
    models: Mapping[str, Any] = {
        name: cast(nn.Module, each.denoiser).to("meta", dtype)
        for name, each in {"": parts, **others}.items()
    }
    denoiser, given = models[""], prepared_inputs(parts)
    inputs = {"": given} | {name: prepared_inputs(each) for name, each in others.items()}

    @cache
    def read(streams: tuple[str, ...], hints: frozenset[str], model: str = "") -> Counter[str]:
        return count_forward(models[model], inputs[model], streams, hints)

    def flops(run: DenoiserRun) -> int:
        return sum(read(run.read, run.request.hints, run.request.model).values())

    everything = read(tuple(given.av), frozenset())
    runs_of = runs_per_task(recipe, parts)
    tasks = {
        name: {" = ".join(run.names): flops(run) for run in runs} for name, runs in runs_of.items()
    }
    activations = count_activations(denoiser, given)
    modes = recompute_modes(denoiser)
    blocks, seq = list(denoiser.blocks) or [denoiser], recipe.train.strategy.seq
    mode = denoiser.recompute if isinstance(denoiser, Recomputing) else "nothing"
    return Account(
        dtype=str(dtype).removeprefix("torch."),
        parameters=parameters(parts),
        largest_block=max(sum(p.numel() for p in block.parameters()) for block in blocks),
        averaged=recipe.train.ema > 0,
        steps=dict(everything),
        tasks=tasks,
        velocities=velocities_per_step(recipe.sample.solver),
        sampling_steps=recipe.sample.steps,
        anchors=anchors_of_tasks(recipe, parts, given, runs_of),
        activations=activations,
        others={name: _weight_bytes(each, dtype) for name, each in others.items()},
        offloaded={
            mode: offloaded_bytes(parts, activations, mode)
            + sum(resident_bytes(each.denoiser, mode) for each in others.values())
            for mode in ("parts", "layers")
        },
        training={mode: count_training(denoiser, given, mode) for mode in modes},
        recompute=mode,
        shared=count_shared(parts, seq, mode) if seq > 1 and modes else None,
    )


def _weight_bytes(parts: Parts, dtype: torch.dtype) -> int:
    """Bytes of a model that guides another one: denoiser and encoders, in `dtype` if trained.

    It has the codecs of the other.
    """
    weights = parameters(attrs.evolve(parts, codecs=AV())).values()
    return sum(each.numbers * dtype.itemsize if each.trained else each.bytes for each in weights)


def runs_per_task(recipe: Recipe, parts: Parts) -> dict[str, list[DenoiserRun]]:
    """Task -> runs of the denoiser for one velocity.

    A model of one stream has one task, which is named after that stream.
    """
    streams = tuple(parts.codecs)
    tasks = TASKS if len(streams) == len(STREAMS) else {streams[0]: ()}
    return {
        name: first_runs(
            recipe.sample.guidance,
            parts.denoiser,
            StepTimes(**{stream: 0.0 if stream in given else 1.0 for stream in streams}),
        )
        for name, given in tasks.items()
    }


def anchors_of_tasks(
    recipe: Recipe, parts: Parts, given: Inputs, runs: Mapping[str, list[DenoiserRun]]
) -> dict[str, CodecWork]:
    """Task -> the codecs' work for anchors over a clip; empty if a codec can't run on shapes."""
    results: dict[Any, tuple[Tensor, int]] = {}
    try:
        return {
            task: anchor_work(
                each,
                parts.codecs,
                given.av,
                given.conditions,
                given=TASKS.get(task, ()),
                steps=recipe.sample.steps,
                velocities=velocities_per_step(recipe.sample.solver),
                results=results,
            )
            for task, each in runs.items()
        }
    except Exception:  # of a third party's codec or anchor, which needs values
        return {}


def velocities_per_step(solver: Solver) -> int:
    """How often a step of the solver evaluates the velocity."""
    evaluated = []

    def velocity(x: AV[Tensor], times: AV[float]) -> AV[Tensor]:
        evaluated.append(times)
        return x

    solver.step(AV(video=torch.zeros(1)), AV(video=0.5), AV(video=0.4), velocity)
    return len(evaluated)


def offloaded_bytes(parts: Parts, activations: int, offload: Offload) -> int:
    """Peak bytes on the device if weights are moved there only while in use.

    The larger of the largest encoder, and of the denoiser with a pass and the larger codec, which
    encodes anchors between passes.
    """
    encoders = max(
        (resident_bytes(encoder, offload) for encoder in parts.encoders.values()), default=0
    )
    codecs = max(resident_bytes(parts.codecs[stream], "parts") for stream in parts.codecs)
    return max(encoders, resident_bytes(parts.denoiser, offload) + activations + codecs)
