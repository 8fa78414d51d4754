"""A guidance of one's own: another guidance, but only early in the sampling, where timing is
decided; after that one pass a step is enough.
"""

from __future__ import annotations

import sys
from pathlib import Path

import attrs

import harmony_parts as hp
from harmony_parts.guidance.protocol import CONDITIONAL, Guidance, StepTimes, conditional
from harmony_parts.plugin import knob
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.contracts.guidance import check_guidance

OUT = Path("out/examples/03")
STEPS = 6


@attrs.frozen
class Early:
    """`inner` while the time (1 noise, 0 data) is above `until`; below it the prediction as it
    is.
    """

    inner: Guidance = knob(help="the guidance of the early steps")
    until: float = knob(
        0.5,
        help="time below which nothing is added",
        off=1.0,
        validator=[attrs.validators.ge(0), attrs.validators.le(1)],
    )

    def _early(self, times: StepTimes) -> bool:
        return any(times[stream] > self.until for stream in times.generated())

    def passes(self, times, state):
        """Those of `inner`, or the task's own alone."""
        return self.inner.passes(times, state) if self._early(times) else [conditional(times)]

    def combine(self, preds, times, state):
        """What `inner` makes of its passes, or the prediction untouched."""
        if self._early(times):
            return self.inner.combine(preds, times, state)
        return preds[CONDITIONAL].only(times.generated()), state


guidance = Early(hp.SyncCFG(video=3, audio=2))
check_guidance(guidance)  # the contract that the guidance in the box passes too

recipe = hp.read_recipe("demo")
for time in timetable(STEPS, recipe.sample.shift)[:-1]:
    names = [asked.name for asked in guidance.passes(StepTimes(time, time), None)]
    print(
        f"time {time:.2f}: {len(names)} {'pass' if len(names) == 1 else 'passes'}"
        f" ({', '.join(names)})"
    )

# A run folder may be given: `python examples/03_own_guidance.py out/demo/run`. Fresh weights make
# noise, but make it by the same way.
pipeline = hp.load(sys.argv[1]) if len(sys.argv) > 1 else hp.Pipeline.assemble(recipe)
OUT.mkdir(parents=True, exist_ok=True)
made = pipeline.generate("a red ball bounces on the ground", guidance=guidance, steps=STEPS, seed=0)
print(made.save(OUT / "early.mp4"))
