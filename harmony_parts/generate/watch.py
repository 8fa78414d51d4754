"""Who watches a run: a progress bar, a function, or nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from harmony_parts.report.progress import progress as bar
from harmony_parts.sample.sampler import Progress, Step


@contextmanager
def watching(progress: Progress | bool, what: str) -> Iterator[Progress | None]:
    """A function of a step that moves a bar called `what`; the function given, or None."""
    if callable(progress):
        yield progress
    elif progress:
        with bar(what) as update:
            yield lambda step: update(step.done, step.steps)
    else:
        yield None


def share(progress: Progress | None, before: int, own: int, total: int) -> Progress | None:
    """Progress of work that is `own` of `total` steps and comes after `before` of them."""
    if progress is None:
        return None

    def report(step: Step) -> None:
        done = before + round(own * step.done / step.steps)
        progress(attrs.evolve(step, done=done, steps=total))

    return report
