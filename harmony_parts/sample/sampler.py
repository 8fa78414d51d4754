"""The sampler: from noise to latents, for whatever streams aren't given."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, Conditions
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.protocol import Denoiser
from harmony_parts.errors import PartContractError, RunError
from harmony_parts.flow.protocol import Path, Shift, Solver
from harmony_parts.guidance.protocol import Guidance, StepTimes
from harmony_parts.sample.pass_graph import ask, order
from harmony_parts.sample.passes import TOGETHER, Passes, check, combined
from harmony_parts.sample.timetable import timetable


@attrs.frozen(eq=False)
class Step:
    """A step that was taken, `done` of `steps`.

    `latents`: where it led; they still hold noise. `estimate`: what they are about to become, x - t
    v of the step's first guided velocity, clean and the better the later; after the last step, the
    latents themselves. Both [B, T, ...], the given streams as they are.
    """

    done: int
    steps: int
    latents: AV[Tensor]
    estimate: AV[Tensor]


Progress = Callable[[Step], None]
"""Called after each step. What it raises ends the run and comes out of `sample` as it is: to
cancel, raise.
"""


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    noise: AV[Tensor],
    conditions: Conditions,
    *,
    codecs: AV[VideoCodec | AudioCodec],
    given: AV[Tensor] = AV(),
    guidance: Guidance,
    solver: Solver,
    shift: Shift,
    path: Path,
    steps: int,
    together: int = TOGETHER,
    progress: Progress | None = None,
) -> AV[Tensor]:
    """Clean latents of both streams: those of `noise` are made in `steps` steps, those of `given`
    are clean and stay as they are.

    `noise` and `given` [B, T, ...]; their streams differ. The solver works in the precision of
    `noise`. Passes that don't wait for each other go into one call of the denoiser while that holds
    at most `together` latents (T H W of video and T of audio, over samples and passes); 0: each by
    itself. Raises ValueError where the arguments don't fit together, PartContractError where a part
    breaks its contract, RunError where a prediction is NaN or infinite, or memory isn't enough.
    """
    _check_streams(noise, given)
    table = timetable(steps, shift)
    flow = _Flow(
        Passes(denoiser, conditions, codecs, path, together), given, guidance, solver, steps
    )
    x, memory = given.replace(**{stream: noise[stream] for stream in noise}), None
    for step, (t, t_next) in enumerate(pairwise(table)):
        flow.begin(step)
        moved, memory = solver.step(x, t, t_next, flow, memory)
        x = moved.replace(**{stream: given[stream] for stream in given})
        check(
            x.only(tuple(noise)),
            noise,
            lambda: f"the solver {solver!r} at step {step + 1} of {steps}",  # noqa: B023
        )
        if progress is not None:
            progress(Step(step + 1, steps, x, flow.estimate() if t_next else x))
    return x


class _Flow:
    """The guided velocity, as the solver sees it. The guidance's state is that after the first
    velocity of the last step.
    """

    def __init__(
        self, passes: Passes, given: AV[Tensor], guidance: Guidance, solver: Solver, steps: int
    ) -> None:
        self.passes, self.given, self.guidance, self.solver, self.steps = (
            passes,
            given,
            guidance,
            solver,
            steps,
        )
        self.step = 0
        self.state: Any = None
        self.after: list[Any] = []
        self.first: tuple[AV[Tensor], AV[Tensor], float]

    def begin(self, step: int) -> None:
        """A new step: the guidance's state advances."""
        self.step = step
        if self.after:
            self.state = self.after[0]
        self.after = []

    def estimate(self) -> AV[Tensor]:
        """The clean latents that the step's first velocity leads to."""
        x, velocity, t = self.first
        return x.replace(
            **{stream: self.passes.path.data(x[stream], velocity[stream], t) for stream in velocity}
        )

    def __call__(self, x: AV[Tensor], t: float) -> AV[Tensor]:
        if not 0 < t <= 1:
            raise PartContractError(
                f"the solver {self.solver!r} asked for the velocity at time {t} in step"
                f" {self.step + 1} of {self.steps}: velocities exist at times above 0, where there"
                " is noise left, up to 1"
            )
        x = x.replace(**{stream: self.given[stream] for stream in self.given})
        times = StepTimes(**{stream: 0.0 if stream in tuple(self.given) else t for stream in x})
        where = f"step {self.step + 1} of {self.steps} (time {t:.4g})"
        asked = ask(
            self.guidance,
            times,
            self.state,
            hints=self.passes.denoiser.hints,
            droppable=self.passes.droppable,
        )
        runs = order(asked, self.guidance)
        try:
            predictions = self.passes.predict(runs, x, times, where)
            velocity, after = combined(self.guidance, predictions, times, self.state, x)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            raise RunError(self._too_large(x, len(runs), where)) from error
        check(
            velocity,
            x.only(times.generated()),
            lambda: f"the guidance {self.guidance!r} at {where}",
        )
        if not self.after:
            self.first = x, velocity, t
        self.after.append(after)
        return velocity

    def _too_large(self, x: AV[Tensor], passes: int, where: str) -> str:
        shapes = ", ".join(f"{stream} {list(x[stream].shape)}" for stream in x)
        apart = (
            "take its passes one at a time (together=0), "
            if self.passes.together and passes > 1
            else ""
        )
        return (
            f"out of memory at {where}, for latents {shapes}: {apart}make fewer clips at once,"
            " fewer seconds, or smaller pictures (the recipe's format). Fewer steps, or a guidance"
            " of fewer passes, take less time, but as much memory"
        )


def _out_of_memory(error: BaseException) -> bool:
    # Some of PyTorch's allocators, the CPU's among them, raise a bare RuntimeError.
    said = ("out of memory", "allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in said
    )


def _check_streams(noise: AV[Tensor], given: AV[Tensor]) -> None:
    if not tuple(noise):
        raise ValueError("noise holds no stream, so there is nothing to make")
    if both := set(noise) & set(given):
        raise ValueError(
            f"{', '.join(sorted(both))} is both in noise (to be made) and given: leave it out"
            " of one"
        )
    sizes = {
        f"{name}.{stream}": len(av[stream])
        for name, av in (("noise", noise), ("given", given))
        for stream in av
    }
    if len(set(sizes.values())) > 1:
        raise ValueError(f"all streams must hold as many samples; here {sizes}")
