"""AdamW."""

from __future__ import annotations

from typing import Any, Literal

import attrs
import torch
from attrs.validators import and_, ge, gt, in_, lt
from torch import nn

from harmony_parts.plugin import knob


@attrs.frozen
class AdamW:
    """Adam with decoupled weight decay (arXiv:1711.05101), by torch's fused kernel.

    m and v are the averages of the gradient g and of g^2, each divided by 1 - beta^step:
    w <- w - rate (m / (sqrt(v) + eps) + weight_decay w).
    """

    learning_rate: float = knob(
        1e-3,
        help="learning rate, before the factor of the schedule",
        source="arXiv:2511.21579: 1e-5 (from pre-trained weights)",
        validator=gt(0),
    )
    beta1: float = knob(
        0.9,
        help="decay per step of the average of the gradient",
        source="arXiv:1412.6980",
        off=0.0,
        validator=and_(ge(0), lt(1)),
    )
    beta2: float = knob(
        0.999,
        help="decay per step of the average of its square",
        source="arXiv:1412.6980",
        validator=and_(ge(0), lt(1)),
    )
    eps: float = knob(
        1e-8,
        help="added to the root of the average square",
        source="arXiv:1412.6980",
        validator=gt(0),
    )
    weight_decay: float = knob(0.0, help="weight decay", off=0.0, validator=ge(0))
    decays: Literal["matrices", "all"] = knob(
        "matrices",
        help=(
            "what weight decay applies to: the matrices and kernels of layers, or all weights, with"
            " norms, biases, modulation and embeddings"
        ),
        validator=in_(("matrices", "all")),
    )

    def build(self, *, modules: nn.Module) -> torch.optim.AdamW:
        """One parameter group if everything decays alike, else those that decay and the others."""
        split = self.weight_decay and self.decays == "matrices"
        decaying: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for owner in modules.modules():
            for name, parameter in owner.named_parameters(recurse=False):
                if parameter.requires_grad:
                    decays = not split or is_matrix(owner, name, parameter)
                    (decaying if decays else others).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": list(dict.fromkeys(some)), "weight_decay": decay}
            for some, decay in ((decaying, self.weight_decay), (others, 0.0))
            if some
        ]
        devices = {parameter.device.type for parameter in (*decaying, *others)}
        return torch.optim.AdamW(
            groups,
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            fused=devices <= {"cpu", "cuda"},
        )


def is_matrix(owner: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Whether this parameter of `owner` is the matrix or kernel of a layer.

    Norms, biases and learned tables (modulation, group tokens) aren't, and neither is the table of
    an embedding.
    """
    table = isinstance(owner, nn.Embedding | nn.EmbeddingBag)
    return name.endswith("weight") and parameter.ndim >= 2 and not table
