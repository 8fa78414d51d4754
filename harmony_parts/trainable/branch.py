"""Only some modules are trained."""

from __future__ import annotations

import attrs
from torch import nn

from harmony_parts.plugin import knob
from harmony_parts.trainable.patterns import matches, unmatched


@attrs.frozen
class Branch:
    """Only the weights of modules whose paths match a pattern; all others are frozen."""

    modules: tuple[str, ...] = knob(
        (
            "denoiser.branches.audio",
            "denoiser.blocks.*.audio",
            "denoiser.blocks.*.interaction",
        ),
        help=(
            "patterns of the paths of the trained modules; `*` stands for any characters. By"
            " default the audio branch and the interaction, as for a video model that learns sound"
        ),
        converter=tuple,
    )

    def prepare(self, modules: nn.Module) -> None:
        """Freeze the weights that no pattern matches."""
        names = [name for name, _ in modules.named_parameters()]
        for name, parameter in modules.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and matches(name, self.modules))
        if not any(parameter.requires_grad for parameter in modules.parameters()):
            raise ValueError(unmatched(self.modules, names, "trainable weight"))
