"""Low-rank adapters are trained, and all other weights are frozen."""

from __future__ import annotations

import attrs
from attrs.validators import ge, gt
from torch import nn

from harmony_parts.layers.lora import attach
from harmony_parts.plugin import knob
from harmony_parts.trainable.patterns import matches, unmatched


@attrs.frozen
class LoRA:
    """Adapters on linear layers (arXiv:2106.09685): y = W x + b + (alpha / rank) B A x.

    Only A and B are trained; the model begins unchanged. A run saves them alone, in its folder
    `lora`, with names and a configuration that peft reads.
    """

    rank: int = knob(16, help="rank of each adapter", validator=ge(1))
    alpha: float = knob(
        16.0,
        help="scale of an adapter, times its rank: the output of B A is multiplied by alpha / rank",
        converter=float,
        validator=gt(0),
    )
    modules: tuple[str, ...] = knob(
        ("denoiser.*.[qkvo]", "external.*.to_[qkv]", "external.*.to_out.0"),
        help=(
            "patterns of the paths of adapted linear layers; `*` stands for any characters. By"
            " default the projections of all attention; `denoiser.blocks.*.audio.*` adapts one"
            " branch. `external.*` are the modules of a denoiser whose weights are others'"
        ),
        source="arXiv:2106.09685, section 4.2: attention weights",
        converter=tuple,
    )

    def prepare(self, modules: nn.Module) -> None:
        """Freeze all weights, and add adapters to the linear layers that a pattern matches."""
        linear = {
            path: module
            for path, module in modules.named_modules()
            if isinstance(module, nn.Linear)
        }
        chosen = [path for path in linear if matches(path, self.modules)]
        if not chosen:
            raise ValueError(unmatched(self.modules, list(linear), "linear layer"))
        modules.requires_grad_(False)
        for path in chosen:
            attach(linear[path], self.rank, self.alpha)
