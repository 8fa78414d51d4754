"""Muon for the matrices of layers, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from attrs.validators import and_, ge, gt, lt
from torch import nn

from harmony_parts.optimizers.adamw import AdamW, is_matrix
from harmony_parts.plugin import knob


@attrs.frozen
class Muon:
    """Momentum whose update of a matrix is made orthogonal, by torch's own `Muon`.

    The momentum B <- momentum B + g of a matrix [m, n] is replaced by the nearest orthogonal
    matrix (five steps of Newton-Schulz), and scaled by 0.2 sqrt(max(m, n)), so that its size is
    that of an AdamW update and one learning rate suits both (arXiv:2502.16982, eq. 4). Everything
    that isn't the matrix of a layer (kernels, norms, biases, tables) is AdamW's.
    """

    learning_rate: float = knob(
        1e-3, help="learning rate, before the factor of the schedule", validator=gt(0)
    )
    momentum: float = knob(
        0.95,
        help="decay per step of the sum of the gradient",
        source="arXiv:2502.16982",
        validator=and_(ge(0), lt(1)),
    )
    beta1: float = knob(
        0.9,
        help="AdamW's decay per step of the average of the gradient",
        source="arXiv:1412.6980",
        off=0.0,
        validator=and_(ge(0), lt(1)),
    )
    beta2: float = knob(
        0.999,
        help="AdamW's decay per step of the average of its square",
        source="arXiv:1412.6980",
        validator=and_(ge(0), lt(1)),
    )
    weight_decay: float = knob(
        0.0, help="weight decay of matrices and kernels", off=0.0, validator=ge(0)
    )

    def build(self, *, modules: nn.Module) -> torch.optim.Optimizer:
        """Muon over the matrices of `modules` that are trained, and AdamW over the rest."""
        matrices = {
            id(parameter): parameter
            for owner in modules.modules()
            for name, parameter in owner.named_parameters(recurse=False)
            if parameter.requires_grad and parameter.ndim == 2 and is_matrix(owner, name, parameter)
        }
        rest = AdamW(
            self.learning_rate, self.beta1, self.beta2, weight_decay=self.weight_decay
        ).build(modules=modules)
        for group in rest.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in matrices]
        rest.param_groups = [group for group in rest.param_groups if group["params"]]
        if not matrices:
            return rest
        muon = torch.optim.Muon(
            list(matrices.values()),
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        return Together([muon, rest]) if rest.param_groups else muon


class Together(torch.optim.Optimizer):
    """Several optimizers, each over its own parameters, as one."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let the parts read and write this optimizer's groups and state."""
        first = 0
        for part in self.parts:
            last = first + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[first:last], self.state
            first = last

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` gave."""
        super().load_state_dict(dict(state_dict))
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each."""
        loss = closure() if closure is not None else None
        for part in self.parts:
            part.step()
        return loss
