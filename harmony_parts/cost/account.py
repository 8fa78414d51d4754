"""The account of a model: arithmetic of its passes, memory of inference and of a training step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, cast, get_args

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import Parts
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV, STREAMS
from harmony_parts.cost.flops import counted
from harmony_parts.cost.fused import fused_attention
from harmony_parts.cost.inputs import Inputs, inputs
from harmony_parts.cost.memory import Live
from harmony_parts.cost.parameters import Weights, parameters
from harmony_parts.denoisers.protocol import Recompute, Recomputing
from harmony_parts.flow.protocol import Solver
from harmony_parts.guidance.protocol import StepTimes
from harmony_parts.models.offload import Offload, part_modules, resident_bytes
from harmony_parts.sample.pass_graph import DenoiserRun, first_runs
from harmony_parts.tasks.protocol import TASKS

STATE = 16  # bytes per trained number: see `Account.training_bytes`
AVERAGE = 4
# joint blocks that FSDP holds whole: the one at work, the next one, and the gradients of one
GATHERED = 3


@attrs.frozen
class Backward:
    """A training step of one clip: `flops` of the way there and back, bytes `kept` between them (of
    it `block` in each joint block; 0 where there are fewer than three), and the most at once
    (`peak`), gradients apart."""

    flops: int
    kept: int
    block: int
    peak: int


@attrs.frozen
class Account:
    """What one clip of the format's length costs, in the type `dtype`. Bytes, and operations (a
    multiplication and an addition are two).
    """

    dtype: str
    parameters: Mapping[str, Weights]
    unit: int  # numbers in the largest joint block, or in the whole of another denoiser
    averaged: bool  # whether training keeps an average of the weights
    steps: Mapping[str, int]  # operations of a pass that reads every stream, by step
    tasks: Mapping[str, Mapping[str, int]]  # task -> names of each pass -> operations
    velocities: int  # in a step of the solver
    sampling_steps: int
    activations: int  # most bytes at once of such a pass, besides weights and inputs
    # most bytes of weights and of such a pass, by how weights come to the device
    offloaded: Mapping[Offload, int]
    backward: Mapping[str, Backward]  # by what is recomputed; empty where nothing is trained

    def per_step(self, task: str) -> int:
        """Operations of a sampling step."""
        return self.velocities * sum(self.tasks[task].values())

    def per_clip(self, task: str) -> int:
        """Operations of a clip, without codecs and encoders."""
        return self.sampling_steps * self.per_step(task)

    @property
    def trained(self) -> int:
        """Numbers that a training run changes."""
        return sum(weights.numbers for weights in self.parameters.values() if weights.trained)

    @property
    def weights_bytes(self) -> int:
        """Of the trained parts, in `dtype`."""
        return self.trained * getattr(torch, self.dtype).itemsize

    @property
    def frozen_bytes(self) -> int:
        """Of codecs and of encoders that aren't trained, in the types that they are in."""
        return sum(weights.bytes for weights in self.parameters.values() if not weights.trained)

    def inference_bytes(self) -> int:
        """Weights, codecs and encoders, and the activations of a pass."""
        return self.weights_bytes + self.frozen_bytes + self.activations

    def training_bytes(self, recompute: str, gpus: int = 1) -> int:
        """Of each GPU, for one clip on each:

            16 P / n  (+ 4 P / n with an average of the weights)  +  3 b s, where n > 1  +
            activations

        P trained numbers, n GPUs, b numbers of the largest joint block, s bytes of a number in
        `dtype`. In float32 the 16 bytes are weight, gradient and AdamW's two moments; in 16 bits
        weight and gradient are 2 each, and there is a float32 copy of the weight. FSDP shares all
        of that out, with gradients reduced in float32.
        """
        states = (STATE + AVERAGE * self.averaged) * self.trained / gpus
        gathered = GATHERED * self.unit * getattr(torch, self.dtype).itemsize if gpus > 1 else 0
        return round(states + gathered + self.backward[recompute].peak)


def account(recipe: Recipe, parts: Parts, dtype: torch.dtype = torch.float32) -> Account:
    """The account of a recipe's parts, which are moved to the meta device. Raises whatever a part
    raises that can't run there.
    """
    denoiser: Any = cast(nn.Module, parts.denoiser).to("meta", dtype)
    given = prepared(parts)
    read = cache(partial(forward, denoiser, given))
    everything = read(tuple(given.av), frozenset())
    tasks = {
        name: {" = ".join(run.names): sum(read(run.read, run.asked.hints).values()) for run in runs}
        for name, runs in runs_of(recipe, parts).items()
    }
    active = activations(denoiser, given)
    blocks = list(denoiser.blocks) or [denoiser]
    return Account(
        dtype=str(dtype).removeprefix("torch."),
        parameters=parameters(parts),
        unit=max(sum(p.numel() for p in block.parameters()) for block in blocks),
        averaged=recipe.train.ema > 0,
        steps=dict(everything),
        tasks=tasks,
        velocities=velocities(recipe.sample.solver),
        sampling_steps=recipe.sample.steps,
        activations=active,
        offloaded={how: at_most(parts, active, how) for how in ("parts", "layers")},
        backward={name: backward(denoiser, given, name) for name in recomputes(denoiser)},
    )


def prepared(parts: Parts) -> Inputs:
    """Inputs of the denoiser, which is on the meta device, after a first pass of them: tables that
    are made once are no part of later ones.
    """
    given, denoiser = inputs(parts), cast(Any, parts.denoiser)
    first = denoiser.hints & {f"skip-{n}" for n in range(1, len(denoiser.blocks))}
    with torch.no_grad(), fused_attention():
        denoiser(given.av, given.times, given.conditions, hints=first)
    return given


def runs_of(recipe: Recipe, parts: Parts) -> dict[str, list[DenoiserRun]]:
    """Task -> the denoiser's runs for one velocity; a model of one stream has one task, which is
    named after that stream.
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


def velocities(solver: Solver) -> int:
    """How many a step asks for."""
    asked = []

    def velocity(x: AV[Tensor], t: float) -> AV[Tensor]:
        asked.append(t)
        return x

    solver.step(AV(video=torch.zeros(1)), 0.5, 0.4, velocity)
    return len(asked)


# --- counting -------------------------------------------------------------------------------------


def forward(
    denoiser: Any, given: Inputs, read: tuple[str, ...], hints: frozenset[str]
) -> Counter[str]:
    """Operations of a pass, by step."""

    def count() -> Counter[str]:
        with torch.no_grad(), counted(denoiser) as operations:
            denoiser(given.av, given.times, given.conditions, read=read, hints=hints)
        return operations

    named = any(hint.startswith("skip-") for hint in hints)  # it names a block by its number
    return count() if named else by_depth(denoiser, count)


def activations(denoiser: Any, given: Inputs) -> int:
    """Most bytes at once of a pass without gradients."""

    def count() -> Counter[str]:
        with torch.no_grad(), fused_attention(), Live(there(denoiser, given)) as live:
            denoiser(given.av, given.times, given.conditions)
        return Counter(peak=live.peak)

    return by_depth(denoiser, count)["peak"]


def at_most(parts: Parts, active: int, offload: Offload) -> int:
    """Bytes where weights come to the device for their work: an encoder's, then the denoiser's with
    a pass, and a codec's for an anchor.
    """
    encoders = max(
        (resident_bytes(encoder, offload) for encoder in parts.encoders.values()), default=0
    )
    codecs = max(resident_bytes(parts.codecs[stream], "parts") for stream in parts.codecs)
    return max(encoders, resident_bytes(parts.denoiser, offload) + active + codecs)


def recomputes(denoiser: Any) -> tuple[str, ...]:
    """What a denoiser can be told to recompute; one that can't is counted as it is, and one that
    has nothing to train not at all.
    """
    if not any(parameter.requires_grad for parameter in denoiser.parameters()):
        return ()
    return get_args(Recompute) if isinstance(denoiser, Recomputing) else ("nothing",)


def backward(denoiser: Any, given: Inputs, recompute: str) -> Backward:
    """A training step: the mean square of all velocities, there and back. Each gradient is let go
    when it's complete.
    """
    handles = [
        p.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
        for p in denoiser.parameters()
    ]
    usual = getattr(denoiser, "recompute", None)

    def loss() -> Tensor:
        velocity = denoiser(given.av, given.times, given.conditions)
        return torch.stack([velocity[stream].square().mean() for stream in velocity]).sum()

    def count() -> Counter[str]:
        with counted(denoiser) as operations, Live(there(denoiser, given)) as live:
            total = loss()
            kept = live.now
            total.backward()
        return Counter(flops=operations.total(), kept=kept, peak=live.peak)

    try:
        if usual is not None:
            denoiser.recompute = recompute
        found, (shallow, deep) = _by_depth(denoiser, count)
    finally:
        if usual is not None:
            denoiser.recompute = usual
        for handle in handles:
            handle.remove()
    return Backward(found["flops"], found["kept"], deep["kept"] - shallow["kept"], found["peak"])


def by_depth(denoiser: Any, count: Callable[[], Counter[str]]) -> Counter[str]:
    """`count()`, faster where the denoiser is many equal joint blocks: from what it is with two of
    them, and with three.
    """
    return _by_depth(denoiser, count)[0]


def _by_depth(
    denoiser: Any, count: Callable[[], Counter[str]]
) -> tuple[Counter[str], tuple[Counter[str], Counter[str]]]:
    """That, and the two counts; their difference is a block's own."""
    blocks: Any = denoiser.blocks if isinstance(denoiser.blocks, nn.ModuleList) else ()
    shapes = {tuple(tuple(p.shape) for p in block.parameters()) for block in blocks}
    if len(blocks) < 3 or len(shapes) > 1:
        whole = count()
        return whole, (Counter(), Counter())
    found = []
    try:
        for n in (2, 3):
            denoiser.blocks = blocks[:n]
            found.append(count())
    finally:
        denoiser.blocks = blocks
    shallow, deep = found
    return Counter(
        {name: deep[name] + (len(blocks) - 3) * (deep[name] - shallow[name]) for name in deep}
    ), (shallow, deep)


def there(denoiser: nn.Module, given: Inputs) -> Iterable[Tensor]:
    """What is there before a pass."""
    for module in part_modules(denoiser):
        yield from (*module.parameters(), *module.buffers())
    for stream in given.av:
        yield from (given.av[stream], given.times[stream].values, given.times[stream].index)
    for condition in given.conditions.values():
        yield from (condition.tokens, condition.mask)
