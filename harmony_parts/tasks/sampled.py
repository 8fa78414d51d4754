"""One randomly drawn task per clip."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.plugin import knob
from harmony_parts.tasks.audio_driven import AudioDriven
from harmony_parts.tasks.joint import Joint
from harmony_parts.tasks.packing import by_clip, pack, plan_each, weigh
from harmony_parts.tasks.protocol import Plan, Task, TimeDraw
from harmony_parts.tasks.video_driven import VideoDriven


@attrs.frozen
class Draw:
    """A task with the weight of its loss and the probability of drawing it."""

    task: Task = knob(help="the task")
    weight: float = knob(
        1.0,
        help="weight of its loss in expectation",
        off=0.0,
        converter=float,
        validator=attrs.validators.ge(0),
    )
    probability: float | None = knob(
        None,
        help=(
            "probability of drawing it; without any, proportional to the weights, so that every"
            " entry has the same weight"
        ),
        converter=attrs.converters.optional(float),
        validator=attrs.validators.optional(
            attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1))
        ),
    )


@attrs.frozen
class Sampled:
    """Train task k on a clip with probability p_k, and weight its loss by lambda_k / p_k.

    The expectation is sum_k lambda_k L_k. A batch of n clips costs n entries; the weighted sum
    costs n entries per term.
    """

    terms: tuple[Draw, ...] = knob(
        (Draw(Joint(), 1.0), Draw(AudioDriven(), 0.1), Draw(VideoDriven(), 0.3)),
        help="the tasks, their weights and probabilities",
        source="arXiv:2511.21579, lambda_v = 0.1, lambda_a = 0.3",
        converter=tuple,
    )

    @terms.validator
    def _a_distribution(self, attribute: object, terms: tuple[Draw, ...]) -> None:
        given = [term.probability for term in terms if term.probability is not None]
        if not any(term.weight for term in terms):
            raise ValueError(
                "terms must hold a task with a weight above 0; otherwise there is nothing to train"
            )
        if given and len(given) < len(terms):
            raise ValueError("set the probability of every term, or of none")
        if given and not math.isclose(sum(given), 1, abs_tol=1e-6):
            raise ValueError(f"the probabilities of the terms must sum to 1, not {sum(given):g}")
        if any(term.weight and term.probability == 0 for term in terms):
            raise ValueError(
                "a term with a weight above 0 needs a probability above 0; otherwise it is never"
                " trained"
            )

    def probabilities(self) -> tuple[float, ...]:
        """p_k of each term; they sum to 1."""
        given = [term.probability for term in self.terms if term.probability is not None]
        shares = given or [term.weight for term in self.terms]
        return tuple(share / sum(shares) for share in shares)

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator, latents: AV[int]) -> Plan:
        """Entries for n clips, grouped by task; `names` has the tasks that were drawn."""
        chances = self._chances().to(generator.device)
        # multinomial raises an error for n = 0
        drawn = _numbers(chances, n, generator) if n else chances.new_empty(0, dtype=torch.long)
        return self._planned(
            drawn, lambda task, clips: task.plan(len(clips), draw, generator, latents)
        )

    def plan_each(
        self, draw: TimeDraw, generators: Sequence[torch.Generator], latents: AV[int]
    ) -> Plan:
        """A task for each clip, with a generator each."""
        chances = self._chances().to(generators[0].device)
        drawn = torch.cat([_numbers(chances, 1, generator) for generator in generators])

        def plan(task: Task, clips: Tensor) -> Plan:
            return plan_each(task, draw, [generators[i] for i in clips.tolist()], latents)

        return by_clip(self._planned(drawn, plan))

    def _chances(self) -> Tensor:
        return torch.tensor(self.probabilities(), dtype=torch.float64)

    def _planned(self, drawn: Tensor, plan: Callable[[Task, Tensor], Plan]) -> Plan:
        """The entries of all clips, grouped by task."""
        p = self.probabilities()
        # A task that no clip drew is left out: with n = 1, most of them. Without any clip, the
        # likeliest term gives the streams.
        plans = []
        for k in sorted(set(drawn.tolist())) or [p.index(max(p))]:
            clips = (drawn == k).nonzero()[:, 0]
            planned = plan(self.terms[k].task, clips)
            plans.append(weigh(planned, self.terms[k].weight / p[k], clips))
        return pack(plans)


def _numbers(chances: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """The numbers of the tasks of n clips, int64 [n]."""
    return torch.multinomial(chances, n, replacement=True, generator=generator)
