"""The numbers of the log: means over the steps since its last line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harmony_parts.tasks.protocol import Plan

BINS = 4  # of times, of equal width
Sums = dict[str, list[float]]
"""Name -> [sum of errors, their number]."""


class LogMeans:
    """Means over the steps since the log's last line.

    A task's loss is the unweighted mean over its entries whose weight isn't 0.
    """

    def __init__(self) -> None:
        self.steps, self.loss, self.norm, self.rate, self.seconds = 0, 0.0, 0.0, 0.0, 0.0
        self.sums: Sums = {}  # by "task.stream"
        self.bins: Sums = {}  # by "stream.time": the time of the noisiest latent, in BINS bins
        self.without_reference = 0  # clips without a reference audio

    def add(self, loss: float, norm: float, rate: float) -> None:
        """Add one step: its loss, gradient norm and learning rate."""
        self.steps += 1
        self.loss += loss
        self.norm += norm
        self.rate = rate

    def add_entries(self, plan: Plan, entries: Mapping[str, Sequence[float]]) -> None:
        """Add the errors of a plan's entries, per stream."""
        tasks = plan.task.tolist()
        for stream, errors in entries.items():
            weights = plan.weights[stream].tolist()
            times = plan.times[stream].values.amax(1).tolist()
            for task, weight, time, error in zip(tasks, weights, times, errors, strict=True):
                if weight:
                    _count(self.sums, f"{plan.names[task]}.{stream}", error)
                    _count(self.bins, f"{stream}.{_bin(time)}", error)

    def record(self, step: int) -> dict[str, Any]:
        """A line of the log."""
        n = max(1, self.steps)
        return {
            "step": step,
            "loss": self.loss / n,
            "losses": means_of(self.sums),
            "losses_by_time": means_of(self.bins),
            "grad_norm": self.norm / n,
            "learning_rate": self.rate,
            "seconds_per_step": self.seconds / n,
            "without_reference": self.without_reference,
        }

    def joined(self, others: Sequence[str]) -> LogMeans:
        """These means over the rows of other processes too, given as their states in JSON.

        Loss, norm, rate and times are those of the whole batch already.
        """
        result = LogMeans.from_state_dict(json.loads(json.dumps(self.state_dict())))
        for state in map(json.loads, others):
            result.without_reference += state["without_reference"]
            for own, more in ((result.sums, state["sums"]), (result.bins, state["bins"])):
                for name, (total, count) in more.items():
                    entry = own.setdefault(name, [0.0, 0])
                    entry[0], entry[1] = entry[0] + total, entry[1] + count
        return result

    def state_dict(self) -> dict[str, Any]:
        """The sums, for a checkpoint between two lines; JSON keeps every bit of a float."""
        return vars(self)

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> LogMeans:
        """The means with the sums that `state_dict` returned."""
        means = cls()
        vars(means).update(state)
        return means


def means_of(sums: Sums) -> dict[str, float]:
    """Name -> mean, by name."""
    return {name: total / count for name, (total, count) in sorted(sums.items())}


def _count(sums: Sums, name: str, error: float) -> None:
    entry = sums.setdefault(name, [0.0, 0])
    entry[0], entry[1] = entry[0] + error, entry[1] + 1


def _bin(time: float) -> str:
    """The bin of a time: "0.25-0.50"."""
    k = min(BINS - 1, int(time * BINS))
    return f"{k / BINS:.2f}-{(k + 1) / BINS:.2f}"
