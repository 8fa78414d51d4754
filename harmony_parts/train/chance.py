"""The random draws of training: of each sample by itself, so that any process can draw any sample.

A sample is one clip of one step. Its task, times, dropped conditions and noise are a function of
the run's seed, the step and the sample's number in the global batch. So they depend neither on how
the batch is split into micro-batches or between processes, nor on the other samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Generator, Tensor

from harmony_parts.assembly.build import derived_seed
from harmony_parts.av import AV, Condition, Conditions
from harmony_parts.tasks.protocol import Plan


def sample_generators(seed: int, step: int, samples: Iterable[int]) -> list[Generator]:
    """A generator for each of these samples of `step`; they are used in the order of this module.

    `samples` are numbers in the global batch.
    """
    return [
        Generator().manual_seed(derived_seed(seed, f"train:step:{step}:{sample}"))
        for sample in samples
    ]


def drop_conditions(
    conditions: Conditions,
    probabilities: Mapping[str, float],
    plan: Plan,
    generators: Sequence[Generator],
) -> dict[str, Condition]:
    """The conditions of a plan's entries, each `name` in its null form with `probabilities[name]`.

    An entry's conditions are dropped independently of each other, from its sample's generator.
    """
    result = dict(conditions)
    entries = _entries(plan, generators)
    for name in sorted(probabilities):
        condition = result[name]
        drawn = [torch.rand(m, generator=g) for m, g in zip(entries, generators, strict=True)]
        rows = torch.cat(drawn) < probabilities[name]
        if rows.any():
            result[name] = condition.drop_rows(rows.to(condition.tokens.device))
    return result


def draw_noise(latents: AV[Tensor], plan: Plan, generators: Sequence[Generator]) -> AV[Tensor]:
    """Normal noise [M, ...] for each entry and stream of a plan; clean latents ignore theirs.

    The tasks of one clip have noise of their own, as they have times of their own: each loss of the
    paper's sum is an expectation over noise by itself, so the sum's expectation is the same as with
    one noise for all, and more noise is seen per clip. It is drawn on the CPU, so that every
    machine gets the same numbers.
    """
    entries = _entries(plan, generators)

    def draw(x: Tensor, _: object) -> Tensor:
        noise = torch.empty(len(plan.source), *x.shape[1:], dtype=x.dtype)
        for rows, generator in zip(noise.split(entries), generators, strict=True):
            rows.normal_(generator=generator)
        return noise.to(x.device)

    return latents.map(draw, plan.times)


def _entries(plan: Plan, generators: Sequence[Generator]) -> list[int]:
    """The number of entries of each sample."""
    counts: list[int] = plan.source.bincount(minlength=len(generators)).tolist()
    return counts
