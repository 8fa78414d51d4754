"""The sampler: generates the latents of the streams that aren't given from noise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, Conditions
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.own_network import denoiser_fault
from harmony_parts.denoisers.protocol import Denoiser
from harmony_parts.errors import PartContractError, RunError
from harmony_parts.flow.protocol import Path, Shift, Solver
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.guidance.protocol import Guidance, StepTimes
from harmony_parts.sample.checks import Who, check_shapes
from harmony_parts.sample.networks import Networks, Others
from harmony_parts.sample.pass_graph import checked_passes, order
from harmony_parts.sample.passes import TOGETHER, Passes, combined
from harmony_parts.sample.timetable import NOISE, timetable


@attrs.frozen(eq=False)
class Step:
    """A finished step, number `done` of `steps`.

    `latents`: the latents after the step, still noisy. `estimate`: the clean estimate x - t v from
    the step's first guided velocity, with each stream's own t, which improves over the steps; after
    the last step, the latents. Both [B, T, ...]; given streams are unchanged.
    """

    done: int
    steps: int
    latents: AV[Tensor]
    estimate: AV[Tensor]


Progress = Callable[[Step], None]
"""Called after each step. An exception that it raises ends the run and propagates from `sample`;
raise one to cancel.
"""


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    noise: AV[Tensor],
    conditions: Conditions,
    *,
    codecs: AV[VideoCodec | AudioCodec],
    given: AV[Tensor] = AV(),
    begin: AV[Tensor] = AV(),
    draft: AV[Tensor] = AV(),
    strength: float = 1.0,
    guidance: Guidance,
    solver: Solver,
    shift: Shift | StreamShifts,
    path: Path,
    steps: int,
    together: int = TOGETHER,
    others: Others | None = None,
    progress: Progress | None = None,
) -> AV[Tensor]:
    """Generate clean latents from `noise` in `steps` steps; streams in `given` stay unchanged.

    `noise` and `given` [B, T, ...] hold different streams; the result holds both. Generated streams
    may go on from known latents `begin` [B, k, ...], which are their first k, bit for bit, and take
    the place of a reference image there. Each generated stream goes from time 1 to 0 along the
    times of its own shift, if `shift` has one for each. A stream with a `draft`, clean latents of
    its shape, starts from the draft with noise at time `strength` instead (SDEdit,
    arXiv:2108.01073), in as many steps; at 1, the default, the draft is forgotten.

    The solver works in the precision of `noise`. Passes that don't need each other are batched in
    one call of the denoiser if that holds at most `together` latents (T H W of video and T of
    audio, over samples and passes); 0 runs each pass by itself. `others` gives the denoiser and
    conditions of passes that run another model, or this one with other words. Raises ValueError if
    the arguments are inconsistent, PartContractError if a part violates its contract, RunError if a
    prediction is NaN or infinite or memory is exhausted.
    """
    if fault := denoiser_fault(denoiser):
        raise PartContractError(fault)
    _check_streams(noise, given, begin, draft)
    networks = Networks((denoiser, conditions), others, begin)
    passes = Passes(networks, codecs, path, together)
    flow = _Flow(passes, given, begin, guidance, solver, steps)
    start = NOISE.replace(**dict.fromkeys(draft, strength))
    x, memory = flow.with_known(_started(noise, draft, start, path)), None
    table = timetable(steps, shift, tuple(x), tuple(given), start)
    for step, (times, next_times) in enumerate(pairwise(table)):
        flow.begin(step)
        moved, memory = solver.step(x, times, next_times, flow, memory)
        x = flow.with_known(moved)
        flow.check(
            x.only(tuple(noise)),
            noise,
            lambda: f"the solver {solver!r} at step {step + 1} of {steps}",  # noqa: B023
        )
        if progress is not None:
            progress(Step(step + 1, steps, x, x if step + 1 == steps else flow.estimate()))
    return x


class _Flow:
    """The guided velocity, a function for the solver.

    The guidance's state advances once per step: it is the one after the first velocity of the
    previous step, whatever the number of velocities that the solver evaluates.
    """

    def __init__(
        self,
        passes: Passes,
        given: AV[Tensor],
        known: AV[Tensor],
        guidance: Guidance,
        solver: Solver,
        steps: int,
    ) -> None:
        self.passes, self.given, self.known = passes, given, known
        self.guidance, self.solver, self.steps = guidance, solver, steps
        self.step = 0
        self.state: Any = None
        self.after: list[Any] = []
        self.first: tuple[AV[Tensor], AV[Tensor], AV[float]]

    def with_known(self, x: AV[Tensor]) -> AV[Tensor]:
        """The latents with the given streams, and the known first latents, in their place."""
        begun = self.known.map(lambda k, x: torch.cat((k.to(x), x[:, k.shape[1] :]), 1), x)
        return x.replace(**{s: begun[s] for s in begun}, **{s: self.given[s] for s in self.given})

    def begin(self, step: int) -> None:
        """Start a step: advance the guidance's state."""
        self.step = step
        if self.after:
            self.state = self.after[0]
        self.after = []

    def check(self, got: AV[Tensor], like: AV[Tensor], who: Who) -> None:
        """Check shapes against `like`, and the values of all that were added to the checks."""
        check_shapes(got, like, who)
        self.passes.finite.add(got, who)
        self.passes.finite.settle()

    def estimate(self) -> AV[Tensor]:
        """The clean estimate from the step's first velocity."""
        x, velocity, times = self.first
        clean = velocity.map(lambda v, x, t: self.passes.path.data(x, v, t), x, times)
        return x.replace(**{stream: clean[stream] for stream in clean})

    def __call__(self, x: AV[Tensor], at: AV[float]) -> AV[Tensor]:
        x = self.with_known(x)
        times = self._checked(at, tuple(x))
        where = f"step {self.step + 1} of {self.steps} ({_time_text(times)})"
        networks = self.passes.networks
        hints, droppable = networks.own.supported
        passes = checked_passes(
            self.guidance,
            times,
            self.state,
            hints=hints,
            droppable=droppable,
            other=lambda each: networks.of(each).supported,
        )
        runs = order(passes, self.guidance)
        try:
            predictions = self.passes.predict(runs, x, times, where, self.step, len(self.after))
            velocity, after = combined(self.guidance, predictions, times, self.state, x)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            raise RunError(self._too_large(x, len(runs), where)) from error
        self.check(
            velocity,
            x.only(times.generated()),
            lambda: f"the guidance {self.guidance!r} at {where}",
        )
        if not self.after:
            self.first = x, velocity, at
        self.after.append(after)
        return velocity

    def _checked(self, at: AV[float], streams: tuple[str, ...]) -> StepTimes:
        """The times that the solver asks for, given streams at 0. Raises PartContractError."""
        times = at.replace(**dict.fromkeys(self.given, 0.0))
        generated = [s for s in streams if s not in tuple(self.given)]
        wrong = [s for s in generated if s not in tuple(times) or not 0 < times[s] <= 1]
        if wrong:
            raise PartContractError(
                f"the solver {self.solver!r} evaluated the velocity of"
                f" {' and '.join(f'{s} at time {getattr(times, s)}' for s in wrong)} in step"
                f" {self.step + 1} of {self.steps}: velocities exist only at times above 0 and up"
                " to 1"
            )
        return StepTimes(**{stream: times[stream] for stream in streams})

    def _too_large(self, x: AV[Tensor], passes: int, where: str) -> str:
        shapes = ", ".join(f"{stream} {list(x[stream].shape)}" for stream in x)
        unbatched = (
            "run its passes one at a time (together=0), "
            if self.passes.together and passes > 1
            else ""
        )
        return (
            f"out of memory at {where}, for latents {shapes}: {unbatched}generate fewer clips at"
            " once, fewer seconds, or smaller frames (the recipe's format). Fewer steps or a"
            " guidance of fewer passes reduce the time, but not the memory"
        )


def _time_text(times: StepTimes) -> str:
    """The time of the generated streams, or each of them if they differ."""
    each = {stream: f"{times[stream]:.4g}" for stream in times.generated()}
    if len(set(each.values())) == 1:
        return f"time {next(iter(each.values()))}"
    return "times " + ", ".join(f"{stream} {text}" for stream, text in each.items())


def _out_of_memory(error: BaseException) -> bool:
    # Some of PyTorch's allocators, the CPU's among them, raise a bare RuntimeError.
    phrases = ("out of memory", "allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        phrase in str(error) for phrase in phrases
    )


def _started(noise: AV[Tensor], draft: AV[Tensor], start: AV[float], path: Path) -> AV[Tensor]:
    """The noise, and in place of a draft's stream the draft with that noise."""
    mixed = draft.map(lambda d, n, t: path.interpolate(d.to(n), n, n.new_tensor(t)), noise, start)
    return noise.replace(**{stream: mixed[stream] for stream in mixed})


def _check_streams(
    noise: AV[Tensor], given: AV[Tensor], begin: AV[Tensor], draft: AV[Tensor]
) -> None:
    if not tuple(noise):
        raise ValueError("noise holds no stream, so there is nothing to generate")
    if both := set(noise) & set(given):
        raise ValueError(
            f"{', '.join(sorted(both))} is both in noise (to be generated) and given: remove it"
            " from one"
        )
    sizes = {
        f"{name}.{stream}": len(av[stream])
        for name, av in (("noise", noise), ("given", given), ("begin", begin), ("draft", draft))
        for stream in av
    }
    if len(set(sizes.values())) > 1:
        raise ValueError(f"all streams must have the same number of samples; here {sizes}")
    for stream in begin:
        if stream not in tuple(noise):
            raise ValueError(f"begin has {stream} latents, and {stream} isn't generated")
        known, shape = begin[stream].shape, noise[stream].shape
        if known[2:] != shape[2:] or known[1] > shape[1]:
            raise ValueError(
                f"begin.{stream} is {list(known)}, and noise.{stream} {list(shape)}: it needs the"
                " same shape, with at most as many latents in time"
            )
    for stream in draft:
        if stream not in tuple(noise):
            raise ValueError(f"there is a draft of {stream}, and {stream} isn't generated")
        if draft[stream].shape != noise[stream].shape:
            raise ValueError(
                f"draft.{stream} is {list(draft[stream].shape)}; it has the shape of"
                f" noise.{stream}, {list(noise[stream].shape)}"
            )
