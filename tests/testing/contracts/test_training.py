"""The contract checks of what training is made of refuse what breaks them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
import torch
from torch import nn

from harmony_parts.errors import PartContractError
from harmony_parts.optimizers.adamw import AdamW
from harmony_parts.strategies.process import SingleProcess
from harmony_parts.testing.contracts import (
    check_callback,
    check_optimizer,
    check_schedule,
    check_strategy,
    check_trainable,
)


@attrs.frozen
class BrokenOptimizer:
    fault: str

    def build(self, *, modules: nn.Module) -> torch.optim.Optimizer:
        if self.fault == "random":
            torch.rand(1)
        if self.fault == "frozen":
            modules.requires_grad_(True)
        if self.fault == "some":
            return torch.optim.AdamW([next(modules.parameters())])
        if self.fault == "still":
            return torch.optim.SGD([p for p in modules.parameters() if p.requires_grad], lr=1e-30)
        return AdamW().build(modules=modules)


@attrs.frozen
class BrokenSchedule:
    fault: str
    seen: list[int] = attrs.field(factory=list, eq=False, hash=False)

    def factor(self, step: int, steps: int) -> float:
        self.seen.append(step)
        faults = {"nan": float("nan"), "negative": -1.0, "off": 0.0, "int": 1}
        return faults.get(self.fault, 1.0 / len(self.seen))


@attrs.frozen
class BrokenTrainable:
    fault: str

    def prepare(self, modules: nn.Module) -> None:
        first = next(modules.parameters())
        with torch.no_grad():
            if self.fault == "changes":
                list(modules.parameters())[1].add_(1)
        if self.fault == "unfreezes":
            first.requires_grad_(True)
        if self.fault == "nothing":
            modules.requires_grad_(False)
        if self.fault == "renames":
            modules.frozen = nn.Sequential(modules.frozen)  # type: ignore[arg-type]


@attrs.frozen
class BrokenStrategy:
    fault: str
    seq: int = 1

    def shards_of(self, ranks: int, local: int) -> int:
        return 0 if self.fault == "shards" else 1

    def build(self, *, device: torch.device) -> Any:
        return BrokenProcess(device, rank=int(self.fault == "rank"), fault=self.fault)


@attrs.frozen
class BrokenProcess:
    device: torch.device
    rank: int
    fault: str
    ranks: int = 1
    seq: int = 1

    def prepare(self, units: Sequence[nn.Module]) -> None:
        if self.fault == "weights":
            nn.init.zeros_(next(units[0].parameters()))

    def agree(self, go: bool) -> bool:
        return go and self.fault != "agree"

    def __getattr__(self, name: str) -> Any:
        return getattr(SingleProcess(self.device), name)

    def sum(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers * (2 if self.fault == "sum" else 1)

    def clip(self, parameters: Any, max_norm: float) -> torch.Tensor:
        limit = 0.0 if self.fault == "clip" else max_norm
        norm = SingleProcess(self.device).clip(list(parameters), limit)
        return norm * (2 if self.fault == "norm" else 1)


@attrs.frozen
class BrokenCallback:
    fault: str

    def build(self, *, run: Any) -> Any:
        return BrokenWriter(run, self.fault)


@attrs.frozen
class BrokenWriter:
    run: Any
    fault: str

    def on_step(self, step: int) -> None:
        if self.fault == "outside":
            (self.run.folder.parent / "notes.txt").write_text(str(step))

    def on_record(self, record: Mapping[str, Any]) -> None:
        if self.fault == "changes":
            record["losses"]["more"] = 1.0
        if self.fault == "random":
            torch.rand(1)

    def close(self) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("check", "part", "cause"),
    [
        (check_optimizer, BrokenOptimizer("random"), "torch's global one"),
        (check_optimizer, BrokenOptimizer("frozen"), "leave frozen weights alone"),
        (check_optimizer, BrokenOptimizer("some"), "each parameter that requires gradients once"),
        (check_optimizer, BrokenOptimizer("still"), "lower a loss"),
        (check_schedule, BrokenSchedule("nan"), "finite factors"),
        (check_schedule, BrokenSchedule("negative"), "finite factors"),
        (check_schedule, BrokenSchedule("int"), "as floats"),
        (check_schedule, BrokenSchedule("off"), "a factor above 0"),
        (check_schedule, BrokenSchedule("counts"), "in any order"),
        (check_trainable, BrokenTrainable("changes"), "what the model computes"),
        (check_trainable, BrokenTrainable("unfreezes"), "leave a frozen weight frozen"),
        (check_trainable, BrokenTrainable("nothing"), "leave some weights to train"),
        (check_trainable, BrokenTrainable("renames"), "names and values"),
        (check_strategy, BrokenStrategy("rank"), "rank 0 of 1"),
        (check_strategy, BrokenStrategy("weights"), "values of the weights"),
        (check_strategy, BrokenStrategy("sum"), "one process"),
        (check_strategy, BrokenStrategy("shards"), "undivided in a single process"),
        (check_strategy, BrokenStrategy("agree"), "agree with itself"),
        (check_strategy, BrokenStrategy("clip"), "clip gradients"),
        (check_strategy, BrokenStrategy("norm"), "the norm of the gradients"),
        (check_callback, BrokenCallback("outside"), "only into the run folder"),
        (check_callback, BrokenCallback("changes"), "leave a record as it is"),
        (check_callback, BrokenCallback("random"), "torch's global one"),
    ],
)
def test_a_broken_part_is_refused(check: Any, part: Any, cause: str) -> None:
    with (
        torch.random.fork_rng(devices=[]),
        pytest.raises(PartContractError, match=re.escape(cause)),
    ):
        check(part)
