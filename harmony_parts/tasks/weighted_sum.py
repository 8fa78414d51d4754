"""The weighted sum of tasks, which trains every task on every clip."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.plugin import knob
from harmony_parts.tasks.audio_driven import AudioDriven
from harmony_parts.tasks.joint import Joint
from harmony_parts.tasks.packing import pack, weigh
from harmony_parts.tasks.protocol import Plan, Task, TimeDraw
from harmony_parts.tasks.video_driven import VideoDriven


@attrs.frozen
class Term:
    """A task with the weight of its loss."""

    task: Task = knob(help="the task")
    weight: float = knob(
        1.0, help="weight of its loss", off=0.0, converter=float, validator=attrs.validators.ge(0)
    )


@attrs.frozen
class WeightedSum:
    """L = sum_k lambda_k L_k: the paper's cross-task loss (arXiv:2511.21579).

    All terms of a clip are in one batch. A batch of n clips costs n entries for each term whose
    weight isn't 0.
    """

    terms: tuple[Term, ...] = knob(
        (Term(Joint(), 1.0), Term(AudioDriven(), 0.1), Term(VideoDriven(), 0.3)),
        help="the tasks and their weights",
        source="arXiv:2511.21579, lambda_v = 0.1, lambda_a = 0.3",
        converter=tuple,
    )

    @terms.validator
    def _some_weight(self, attribute: object, terms: tuple[Term, ...]) -> None:
        if not any(term.weight for term in terms):
            raise ValueError(
                "terms must hold a task with a weight above 0; otherwise there is nothing to train"
            )

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator, latents: AV[int]) -> Plan:
        """n entries per term; each term draws its own times."""
        return pack(
            [
                weigh(term.task.plan(n, draw, generator, latents), term.weight)
                for term in self.terms
                if term.weight
            ]
        )
