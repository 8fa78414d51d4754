"""The state of an optimizer by the names of the weights: independent of groups and their order."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim import Optimizer


def moments(optimizer: Optimizer, trained: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state: `PARAMETER/exp_avg` and the like."""
    name_of = {number: name for name, number in _numbers(optimizer, trained).items()}
    return {
        f"{name_of[number]}/{key}": value
        for number, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }


def load_moments(
    optimizer: Optimizer, trained: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor]
) -> None:
    """Load what `moments` returned. Raises KeyError if a parameter is unknown."""
    numbers = _numbers(optimizer, trained)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in saved.items():
        parameter, _, key = name.rpartition("/")
        state.setdefault(numbers[parameter], {})[key] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def _numbers(optimizer: Optimizer, trained: Mapping[str, nn.Parameter]) -> dict[str, int]:
    """Name -> number of the parameter in the optimizer's state."""
    ordered = [id(p) for group in optimizer.param_groups for p in group["params"]]
    number_of = {parameter: number for number, parameter in enumerate(ordered)}
    return {name: number_of[id(p)] for name, p in trained.items() if id(p) in number_of}
