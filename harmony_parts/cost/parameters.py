"""Weights of a model by what they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from torch import Tensor, nn

from harmony_parts.assembly.build import Parts
from harmony_parts.models.offload import external_modules

HEARS = {"to_video": "video hears audio", "to_audio": "audio sees video"}
"""What the interactions in the box call their two directions -> what they are called in reports;
other parts of one keep their names.
"""


@attrs.frozen
class Weights:
    """Numbers, the tensors that they are in, and their bytes as they are held now. `trained`:
    whether a training run changes them.
    """

    numbers: int
    tensors: int
    bytes: int
    trained: bool = True

    @classmethod
    def of(cls, tensors: Iterable[Tensor], trained: bool = True) -> Weights:
        """Each tensor once."""
        each = {id(x): x for x in tensors}.values()
        return cls(
            sum(x.numel() for x in each),
            len(each),
            sum(x.numel() * x.element_size() for x in each),
            trained,
        )


def group(name: str) -> str:
    """What a parameter of a denoiser is counted under, by its dotted name:
    `blocks.3.interaction.style.heads.q.weight` is "interaction: style".
    """
    path = name.split(".")
    if "interaction" in path:
        part = path[path.index("interaction") + 1]
        return f"interaction: {HEARS.get(part, part)}"
    return next(
        (f"{step} branch" for step in path if step in ("video", "audio")),
        "other parts of the denoiser",
    )


def frozen(part: Any) -> list[Tensor]:
    """Weights of a part that no training run changes: those of its external modules."""
    return [weight for module in external_modules(part) for weight in module.parameters()]


def parameters(parts: Parts) -> dict[str, Weights]:
    """Group -> its weights: the denoiser's by branch and direction of the interaction, each
    encoder's, each codec's. Empty groups are left out.
    """
    groups: dict[str, list[Tensor]] = {}
    for name, parameter in (
        parts.denoiser.named_parameters() if isinstance(parts.denoiser, nn.Module) else ()
    ):
        groups.setdefault(group(name), []).append(parameter)
    found = {name: Weights.of(groups[name]) for name in sorted(groups, key=_place)}
    found["denoiser, not trained"] = Weights.of(frozen(parts.denoiser), trained=False)
    for name, encoder in parts.encoders.items():
        found[f"encoder {name}"] = Weights.of(
            encoder.parameters() if isinstance(encoder, nn.Module) else ()
        )
        found[f"encoder {name}, not trained"] = Weights.of(frozen(encoder), trained=False)
    for stream in parts.codecs:
        codec: Any = parts.codecs[stream]
        found[f"{stream} codec, not trained"] = Weights.of(
            [*frozen(codec), *(codec.parameters() if isinstance(codec, nn.Module) else ())], False
        )
    return {name: weights for name, weights in found.items() if weights.numbers}


def _place(name: str) -> int:
    """Branches, then the interaction, then the rest."""
    order = ("video branch", "audio branch", "interaction: ")
    return next((at for at, start in enumerate(order) if name.startswith(start)), len(order))
