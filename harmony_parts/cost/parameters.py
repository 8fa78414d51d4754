"""Weights of a model, by the part that they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from torch import Tensor, nn

from harmony_parts.assembly.build import Parts
from harmony_parts.models.offload import external_modules

DIRECTIONS = {"to_video": "video attends to audio", "to_audio": "audio attends to video"}
"""Submodules of the built-in interactions -> their names in reports; others keep their own."""


@attrs.frozen
class Weights:
    """A group of weights."""

    numbers: int
    tensors: int
    bytes: int  # in their present type
    trained: bool = True  # whether training updates them

    @classmethod
    def of(cls, tensors: Iterable[Tensor], trained: bool = True) -> Weights:
        """Count each tensor once."""
        each = {id(x): x for x in tensors}.values()
        return cls(
            sum(x.numel() for x in each),
            len(each),
            sum(x.numel() * x.element_size() for x in each),
            trained,
        )


def interaction_name(child: str) -> str:
    """The name in reports of a submodule of an interaction."""
    return f"interaction: {DIRECTIONS.get(child, child)}"


def group(name: str) -> str:
    """The group of a denoiser's parameter, by its dotted name.

    `blocks.3.interaction.style.heads.q.weight` is in "interaction: style".
    """
    path = name.split(".")
    if "interaction" in path:
        return interaction_name(path[path.index("interaction") + 1])
    return next(
        (f"{step} branch" for step in path if step in ("video", "audio")),
        "other parts of the denoiser",
    )


def frozen(part: Any) -> list[Tensor]:
    """Weights that training never updates: those of a part's external modules."""
    return [weight for module in external_modules(part) for weight in module.parameters()]


def parameters(parts: Parts) -> dict[str, Weights]:
    """Group -> weights, without empty groups.

    The denoiser's are grouped by branch and direction of the interaction; each encoder and codec is
    a group.
    """
    groups: dict[str, list[Tensor]] = {}
    for name, parameter in (
        parts.denoiser.named_parameters() if isinstance(parts.denoiser, nn.Module) else ()
    ):
        groups.setdefault(group(name), []).append(parameter)
    result = {name: Weights.of(groups[name]) for name in sorted(groups, key=_sort_key)}
    result["denoiser, not trained"] = Weights.of(frozen(parts.denoiser), trained=False)
    for name, encoder in parts.encoders.items():
        result[f"encoder {name}"] = Weights.of(
            encoder.parameters() if isinstance(encoder, nn.Module) else ()
        )
        result[f"encoder {name}, not trained"] = Weights.of(frozen(encoder), trained=False)
    for stream in parts.codecs:
        codec: Any = parts.codecs[stream]
        result[f"{stream} codec, not trained"] = Weights.of(
            [*frozen(codec), *(codec.parameters() if isinstance(codec, nn.Module) else ())], False
        )
    return {name: weights for name, weights in result.items() if weights.numbers}


def _sort_key(name: str) -> int:
    """Order of the groups: branches, interaction, rest."""
    order = ("video branch", "audio branch", "interaction: ")
    return next((at for at, start in enumerate(order) if name.startswith(start)), len(order))
