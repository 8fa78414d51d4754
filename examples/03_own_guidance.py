"""Your own guidance: apply another one only early in sampling, when timing is decided."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

import harmony_parts as hp
from harmony_parts.guidance.active_streams import combine_for, passes_for
from harmony_parts.guidance.protocol import Guidance, Pass, Predictions, StepTimes
from harmony_parts.plugin import knob
from harmony_parts.sample.timetable import step_times
from harmony_parts.testing.contracts.guidance import check_guidance

OUT = Path("out/examples/03")
STEPS = 6


@attrs.frozen
class Early:
    """Apply `inner` at times (1 noise, 0 data) above `until`; later steps cost one pass.

    Each stream counts by its own time, which may differ from the other's.
    """

    inner: Guidance = knob(help="the guidance of the early steps")
    until: float = knob(
        0.5,
        help="time at and below which there is no guidance",
        off=1.0,
        validator=[attrs.validators.ge(0), attrs.validators.le(1)],
    )

    def _early(self, times: StepTimes) -> list[str]:
        return [s for s in times.generated() if (time := times[s]) and time > self.until]

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The conditional pass, and those of `inner` that early streams need."""
        return passes_for(self._early(times), self.inner, times, state)

    def combine(
        self, preds: Predictions, times: StepTimes, state: Any
    ) -> tuple[hp.AV[Tensor], Any]:
        """The result of `inner` for early streams, the conditional prediction for others."""
        return combine_for(self._early(times), self.inner, preds, times, state)


guidance = Early(hp.SyncCFG(video=3, audio=2))
check_guidance(guidance)  # the contract that the built-in guidances pass, too

recipe = hp.read_recipe("demo")
for times in step_times(STEPS, recipe.sample.shift):
    names = [each.name for each in guidance.passes(times, None)]
    print(
        f"time {times.video:.2f}: {len(names)} {'pass' if len(names) == 1 else 'passes'}"
        f" ({', '.join(names)})"
    )

# Optionally pass a model: `python examples/03_own_guidance.py harmony-tiny`. Fresh weights generate
# noise, by the same steps.
pipeline = hp.load(sys.argv[1]) if len(sys.argv) > 1 else hp.Pipeline.assemble(recipe)
OUT.mkdir(parents=True, exist_ok=True)
made = pipeline.generate("a red ball bounces on the ground", guidance=guidance, steps=STEPS, seed=0)
print(made.save(OUT / "early.mp4"))
