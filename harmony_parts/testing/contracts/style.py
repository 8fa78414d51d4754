"""Contract check of style parts."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from harmony_parts.av import AV
from harmony_parts.branches.protocol import Branch, BranchSpec
from harmony_parts.style.protocol import Style, StyleSpec
from harmony_parts.testing.contracts.layers import (
    EXACT,
    SAMPLES,
    Results,
    check_layer,
    check_meta,
    check_types,
    make_branches,
    make_layer,
    require_like,
    same,
)
from harmony_parts.testing.contracts.require import check_made, generator, require

SIZES = ((4, 5, 6), (1, 1, 1), (9, 2, 1))  # reference tokens, video latents, tokens of a latent


def check_style(spec: StyleSpec, *, branches: AV[BranchSpec] | None = None) -> Style:
    """Build a style part, check its contract, and return it, with perturbed weights.

    `branches` as in `check_interaction`. Checked: a torch module that shares no weights; a residual
    [B, R, D_a] for references and videos of any length, down to one token; independent samples and
    reference tokens; no effect of the order of the video's latents; and, as for an interaction,
    repeatability, no change in place, gradients, other types, saved weights and the meta device.
    Raises PartContractError.
    """
    check_made(spec)
    built = make_branches(branches)
    layer = make_layer(spec, built)
    check_layer(
        spec,
        layer,
        built,
        lambda module, given: {"residual": _residual(spec, module, given)},
        _given(built, *SIZES[0]),
    )
    for size in SIZES:
        _check_independence(spec, layer, *_given(built, *size))

    def in_type(module: nn.Module, dtype: torch.dtype) -> Results:
        reference, video = (x.to(dtype) for x in _given(built, *SIZES[0]))
        return {"residual": _residual(spec, module, (reference, video))}

    check_types(spec, layer, in_type)
    reference, video = (x.to("meta") for x in _given(built, *SIZES[0]))
    check_meta(
        spec, built, lambda module: {"residual": _residual(spec, module, (reference, video))}
    )
    return cast(Style, layer)


def _given(branches: AV[Branch], tokens: int, latents: int, places: int) -> tuple[Tensor, Tensor]:
    """Noise: a reference [B, R, D_a] and a video's hidden states [B, T, S, D_v]."""
    random, (video, audio) = generator(), (branches["video"].width, branches["audio"].width)
    return torch.randn(SAMPLES, tokens, audio, generator=random), torch.randn(
        SAMPLES, latents, places, video, generator=random
    )


def _residual(spec: Any, layer: nn.Module, given: tuple[Tensor, Tensor]) -> Tensor:
    residual = layer(*given)
    require(isinstance(residual, Tensor), spec, "return a residual of the reference")
    return require_like(spec, "the reference", cast(Tensor, residual), given[0])


def _check_independence(spec: Any, layer: nn.Module, reference: Tensor, video: Tensor) -> None:
    """Of samples, of reference tokens, and of the order of the video's latents."""
    residual = _residual(spec, layer, (reference, video))
    last = slice(SAMPLES - 1, SAMPLES)
    alone = _residual(spec, layer, (reference[last], video[last]))
    require(_near(residual[last], alone), spec, "keep the samples of a batch independent")
    first = _residual(spec, layer, (reference[:, :1], video))
    require(
        _near(residual[:, :1], first),
        spec,
        "keep the tokens of the reference independent: padding among them must have no effect",
    )
    reversed_video = _residual(spec, layer, (reference, video.flip(1)))
    require(
        _near(residual, reversed_video),
        spec,
        "return the same for the video's latents in any order: style is independent of time",
    )


def _near(one: Tensor, two: Tensor) -> bool:
    return same({"": one}, {"": two}, EXACT)
