"""The numbers of the log: means over the steps since its last line."""

from __future__ import annotations

from typing import Any

from harmony_parts.tasks.protocol import Plan


class LogMeans:
    """Means over the steps since the log's last line.

    A task's loss is the unweighted mean over its entries whose weight isn't 0.
    """

    def __init__(self) -> None:
        self.steps, self.loss, self.norm, self.rate, self.seconds = 0, 0.0, 0.0, 0.0, 0.0
        self.sums: dict[str, list[float]] = {}  # "task.stream": [sum of errors, their number]
        self.without_reference = 0  # clips without a reference audio

    def add(
        self, loss: float, norm: float, rate: float, plan: Plan, entries: dict[str, list[float]]
    ) -> None:
        """Add one step: its loss, gradient norm, learning rate, and errors of each plan entry."""
        self.steps += 1
        self.loss += loss
        self.norm += norm
        self.rate = rate
        tasks = plan.task.tolist()
        for stream, errors in entries.items():
            weights = plan.weights[stream].tolist()
            for task, weight, error in zip(tasks, weights, errors, strict=True):
                if weight:
                    sums = self.sums.setdefault(f"{plan.names[task]}.{stream}", [0.0, 0])
                    sums[0], sums[1] = sums[0] + error, sums[1] + 1

    def record(self, step: int) -> dict[str, Any]:
        """A line of the log."""
        n = max(1, self.steps)
        return {
            "step": step,
            "loss": self.loss / n,
            "losses": {name: total / count for name, (total, count) in sorted(self.sums.items())},
            "grad_norm": self.norm / n,
            "learning_rate": self.rate,
            "seconds_per_step": self.seconds / n,
            "without_reference": self.without_reference,
        }

    def state_dict(self) -> dict[str, Any]:
        """The sums, for a checkpoint between two lines; JSON keeps every bit of a float."""
        return vars(self)

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> LogMeans:
        """The means with the sums that `state_dict` returned."""
        means = cls()
        vars(means).update(state)
        return means
