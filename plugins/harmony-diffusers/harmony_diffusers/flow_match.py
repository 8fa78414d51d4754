"""The sampling times of diffusers' schedulers for flow matching."""

from __future__ import annotations

import functools

import attrs
from attrs.validators import ge, in_
from torch import Tensor

from harmony_diffusers.frozen import model_knob, revision_knob, subfolder_knob
from harmony_diffusers.scheduler import SavedTimes, saved_times
from harmony_diffusers.scheduler import Spread as Kind
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.plugin import knob

LOW = 0.001  # the lowest of a scheduler's 1000 times of training


@attrs.frozen
class FlowMatchShift:
    """t' = s t / (1 + (s - 1) t), over times that are spread as diffusers' schedulers spread them.

    Steps begin at times that are equally spaced before they are shifted. `euler`, as
    FlowMatchEulerDiscreteScheduler without sigmas of the caller's own: from 1 to the shifted 0.001,
    and the last step goes from there to 0. `unipc`, as UniPCMultistepScheduler with
    use_flow_sigmas: as if the last step ended at 0.001, but it ends at 0. `plain`, as
    MiniMaxH3Scheduler, whose number of steps is one more: from 1 to 0. In training it is the plain
    shift. Without a `shift`, all of that is as the saved scheduler of `model` has it; it is
    read when it is first needed, and ValueError raised if it can't be, or if its times are others.
    Source: diffusers.
    """

    shift: float = knob(
        0.0,
        help="strength of the move towards noise; 0: the scheduler's of `model`, or 1 without one",
        source="the model's scheduler_config.json",
        converter=float,
        validator=ge(0),
    )
    spread: Kind = knob(
        "euler",
        help="the scheduler whose spread of times it is, if `shift` is given or no `model`",
        validator=in_(("euler", "unipc", "plain")),
    )
    model: str = model_knob("")
    subfolder: str = subfolder_knob("scheduler", "scheduler")
    revision: str = revision_knob()

    @property
    def times(self) -> SavedTimes:
        """The shift and spread in use."""
        if self.shift or not self.model:
            return SavedTimes(self.shift or 1.0, self.spread)
        return _saved(self.model, self.revision, self.subfolder)

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the shape of `t`, without the spread."""
        return ConstantShift(self.times.shift)(t)

    def for_steps(self, steps: int) -> FlowMatchShift | Spread:
        """The shift of the spread times; a single step goes from 1 to 0."""
        return Spread(self.times, steps) if steps > 1 and self.times.spread != "plain" else self


_saved = functools.cache(saved_times)  # times are asked for often, and the Hub is slow


@attrs.frozen
class Spread:
    """A FlowMatchShift for a number of steps; linear below t = 1 / steps, which no step begins at.

    1 - k / steps becomes 1 - k / (steps - 1) (1 - low) (`euler`, low is 0.001 shifted) or 1 - k /
    steps (1 - 0.001) (`unipc`), and is then shifted.
    """

    times: SavedTimes
    steps: int

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the shape of `t`."""
        shift, first = ConstantShift(self.times.shift), 1 / self.steps
        width = 1 - t.new_tensor(LOW)
        if self.times.spread == "euler":
            width = (1 - shift(t.new_tensor(LOW))) * self.steps / (self.steps - 1)
        last = shift(1 - (1 - first) * width)
        spread = 1 - (1 - t) * width
        return shift(spread.clamp(min=0)).where(t > first - 1e-9, last * self.steps * t)
