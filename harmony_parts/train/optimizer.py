"""The optimizer of a run, its learning rate, and gradient clipping."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harmony_parts.assembly.recipe import Training


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: Training, device: torch.device
) -> Optimizer:
    """AdamW over the trained parameters."""
    return torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )


def learning_rate(settings: Training, step: int) -> float:
    """The learning rate of `step` (from 1): a linear warmup, then constant."""
    return settings.learning_rate * min(1.0, step / max(1, settings.warmup))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale the gradients to a norm of at most `max_norm`, unless that is 0; returns their norm."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
    if max_norm and gradients:
        # min(1, .) leaves short gradients bit for bit
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def moments(optimizer: Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """The optimizer's state by name: `PARAMETER/exp_avg` and the like."""
    state = optimizer.state_dict()["state"]
    return {
        f"{names[i]}/{key}": value for i, values in state.items() for key, value in values.items()
    }


def load_moments(optimizer: Optimizer, names: Sequence[str], saved: Mapping[str, Tensor]) -> None:
    """Load what `moments` returned. Raises KeyError if a parameter is unknown."""
    index = {name: i for i, name in enumerate(names)}
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, value in saved.items():
        parameter, _, key = name.rpartition("/")
        state[index[parameter]][key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": dict(state), "param_groups": groups})
