"""The sum of several guidances."""

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
    """v = v_c + sum_k (g_k - v_c), with the conditional prediction v_c and the results g_k.

    If only one term changes a stream, its result is returned bit for bit. Passes that terms share
    run once. An empty sum is no guidance; `terms` has no default, so that forgetting it is an
    error.
    """

    terms: tuple[Guidance, ...] = knob(
        help=(
            'the guidances to add up, such as terms = ["cfg", "sync-cfg"]; use a table for a term'
            " with settings"
        ),
        off=(),
        converter=tuple,
    )

    def _named(self, times: StepTimes, state: Any) -> list[list[tuple[str, Pass]]]:
        """The passes of each term with their names in the sum, which start with the term's number;
        the conditional pass keeps its name.
        """
        own = conditional(times)
        states = state or (None,) * len(self.terms)
        return [
            [
                (CONDITIONAL if each == own else f"{k}.{each.name}", each)
                for each in term.passes(times, states[k])
            ]
            for k, term in enumerate(self.terms)
        ]

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The conditional pass, and the other passes of all terms."""
        passes = [conditional(times)]
        for named in self._named(times, state):
            new_names = {each.name: name for name, each in named}
            for name, each in named:
                if name != CONDITIONAL:
                    passes.append(
                        attrs.evolve(
                            each,
                            name=name,
                            needs=[new_names.get(need, f"unknown {need!r}") for need in each.needs],
                        )
                    )
        return passes

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Add each term's difference from the conditional prediction to it."""
        own = preds[CONDITIONAL].only(times.generated())
        states = state or (None,) * len(self.terms)
        results, after = [], []
        latents = {name: preds[name] for name in preds if name == LATENTS}
        for term, named, before in zip(self.terms, self._named(times, state), states, strict=True):
            result, new = term.combine(
                latents | {each.name: preds[name] for name, each in named}, times, before
            )
            results.append(result)
            after.append(new)

        def add(stream: str) -> Tensor:
            # A term that doesn't change the stream would add zeros. Leaving it out returns the
            # result of a single other term without rounding.
            changed = [
                result[stream] for result in results if not torch.equal(result[stream], own[stream])
            ]
            if len(changed) < 2:
                return changed[0] if changed else own[stream]
            return own[stream] + sum(result - own[stream] for result in changed)

        return AV(**{stream: add(stream) for stream in own}), tuple(after)
