"""The numbers of the log: means over the steps since its last line."""

from __future__ import annotations

from typing import Any

from harmony_parts.tasks.protocol import Plan


class Window:
    """Means over the steps since the last line of the log; a task's loss is that of its entries
    with a weight, but without the weight.
    """

    def __init__(self) -> None:
        self.steps, self.loss, self.norm, self.rate, self.seconds = 0, 0.0, 0.0, 0.0, 0.0
        self.sums: dict[str, list[float]] = {}  # "task.stream": [sum of errors, their number]

    def add(
        self, loss: float, norm: float, rate: float, plan: Plan, entries: dict[str, list[float]]
    ) -> None:
        """Take in one step."""
        self.steps, self.loss, self.norm, self.rate = (
            self.steps + 1,
            self.loss + loss,
            self.norm + norm,
            rate,
        )
        tasks = plan.task.tolist()
        for stream, errors in entries.items():
            for task, weight, error in zip(
                tasks, plan.weights[stream].tolist(), errors, strict=True
            ):
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
        }

    def state(self) -> dict[str, Any]:
        """For a checkpoint in the middle of a window; JSON keeps every bit of a float."""
        return vars(self)

    @classmethod
    def load(cls, state: dict[str, Any]) -> Window:
        """What `state` gave."""
        window = cls()
        vars(window).update(state)
        return window
