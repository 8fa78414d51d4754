"""Several guidances at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    LATENTS,
    Guidance,
    Pass,
    Predictions,
    StepTimes,
    conditional,
)
from harmony_parts.plugin import knob


@attrs.frozen
class Sum:
    """v = v_c + sum_k (g_k - v_c), with g_k what term k makes of the conditional prediction v_c.

    A stream that one term alone changes gets that term's result bit for bit. Passes that terms have
    in common are run once. The sum of no terms is no guidance, as a program may want it; it has to
    be said, so that a sum whose terms were forgotten isn't taken for one.
    """

    terms: tuple[Guidance, ...] = knob(
        help=(
            'the guidances to add up, such as terms = ["cfg", "sync-cfg"]; a table each, to set'
            " them"
        ),
        off=(),
        converter=tuple,
    )

    def _asked(self, times: StepTimes, state: Any) -> list[list[tuple[str, Pass]]]:
        """Per term, its passes and what they are called here: the task's own keeps its name, the
        others get the term's number.
        """
        own = conditional(times)
        states = state or (None,) * len(self.terms)
        return [
            [
                (CONDITIONAL if asked == own else f"{k}.{asked.name}", asked)
                for asked in term.passes(times, states[k])
            ]
            for k, term in enumerate(self.terms)
        ]

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The task's own pass, and those of the terms."""
        passes = [conditional(times)]
        for asked in self._asked(times, state):
            here = {each.name: name for name, each in asked}
            for name, each in asked:
                if name != CONDITIONAL:
                    passes.append(
                        attrs.evolve(
                            each,
                            name=name,
                            needs=[here.get(need, f"unknown {need!r}") for need in each.needs],
                        )
                    )
        return passes

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """The conditional prediction and every term's difference from it."""
        own = preds[CONDITIONAL].only(times.generated())
        states = state or (None,) * len(self.terms)
        results, after = [], []
        seen = {name: preds[name] for name in preds if name == LATENTS}
        for term, asked, before in zip(self.terms, self._asked(times, state), states, strict=True):
            result, new = term.combine(
                seen | {each.name: preds[name] for name, each in asked}, times, before
            )
            results.append(result)
            after.append(new)

        def add(stream: str) -> Tensor:
            # A term that leaves the stream alone would add zeros; without it, rounding can't touch
            # what a single other term gives.
            changed = [
                result[stream] for result in results if not torch.equal(result[stream], own[stream])
            ]
            if len(changed) < 2:
                return changed[0] if changed else own[stream]
            return own[stream] + sum(result - own[stream] for result in changed)

        return AV(**{stream: add(stream) for stream in own}), tuple(after)
