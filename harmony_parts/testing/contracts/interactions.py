"""Contract checks of interactions and style parts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import torch
from torch import Tensor, nn

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import Branch, BranchSpec, Tokens
from harmony_parts.interaction.protocol import Exchange, Interaction, InteractionSpec
from harmony_parts.style.protocol import Style, StyleSpec
from harmony_parts.testing.contracts.layers import (
    EXACT,
    SAMPLES,
    SHAPES,
    Heard,
    Scene,
    Shape,
    check_layer,
    check_meta,
    check_types,
    make_branches,
    make_layer,
    same,
    scene,
)
from harmony_parts.testing.contracts.require import generator, require

OWN = object()
"""Tables that the layer makes itself."""


def check_interaction(
    spec: InteractionSpec, *, branches: AV[BranchSpec] | None = None
) -> Interaction:
    """Build the interaction and hold it to the contract of its kind; returns it, with its weights
    moved away from where they start.

    `branches` are settings of branches, for an interaction that asks more of them than the default
    ones hold: small built-in ones that differ in width and heads. Checked: a torch module with
    weights of its own; tables for any layout, which serve every layer; shapes of residuals, of
    references and of terms, with a reference and without; nothing for a stream that doesn't
    receive, and the same for one as for both; each sample by itself; padding of the reference
    unheard; the same again, without a draw from the global generator, and nothing changed in place;
    a gradient for every weight; other types; saved weights; the meta device. Raises
    PartContractError.
    """
    built = make_branches(branches)
    layer = make_layer(spec, built)
    require(
        callable(getattr(layer, "tables", None)),
        spec,
        "build an Interaction, with all that the protocol names",
    )
    check_layer(
        spec,
        layer,
        built,
        lambda module, at: _received(spec, module, at, built),
        scene(built, SHAPES[0]),
    )
    for shape in SHAPES:
        given = scene(built, shape)
        both = _received(spec, layer, given, built)
        for stream in STREAMS:
            alone = _received(spec, layer, given, built, to=(stream,))
            wanted = {name: x for name, x in both.items() if name.startswith(stream)}
            require(
                same(wanted, alone, EXACT),
                spec,
                f"give the {stream} stream the same whether it receives alone or both do",
            )
        _check_tables(spec, layer, given, built, both)
        _check_samples(spec, layer, shape, built, both)
        _check_padding(spec, layer, given, built, both)
    check_types(
        spec,
        layer,
        lambda module, dtype: _received(spec, module, scene(built, SHAPES[0]).cast(dtype), built),
    )
    empty = make_branches(branches, "meta")
    at = scene(empty, SHAPES[0], device="meta")
    check_meta(spec, empty, lambda module: _received(spec, module, at, empty))
    return cast(Interaction, layer)


def _received(
    spec: Any,
    layer: nn.Module,
    given: Scene,
    branches: AV[Branch],
    to: Collection[str] = STREAMS,
    tables: Any = OWN,
) -> Heard:
    """What the streams of `to` receive, checked for its form, by a name that begins with the
    stream's. A term is asked with fixed queries.
    """
    if tables is OWN:
        tables = cast(Any, layer).tables(given.layout)
    exchange = layer(given.streams["video"], given.streams["audio"], tables, to=to)
    require(isinstance(exchange, AV), spec, "return an AV of Exchange")
    found: dict[str, Tensor] = {}
    for stream in exchange:
        each, tokens = exchange[stream], given.streams[stream]
        require(isinstance(each, Exchange), spec, "return an AV of Exchange")
        if stream not in to:
            require(
                each.hidden is each.reference is each.term is None,
                spec,
                f"give the {stream} stream nothing where it doesn't receive",
            )
        if each.hidden is not None:
            found[f"{stream}: the residual"] = _like(
                spec, f"the {stream}'s hidden states", each.hidden, tokens.hidden
            )
        if each.reference is not None:
            require(
                tokens.reference is not None,
                spec,
                f"give the {stream} no residual of a reference where it has none",
            )
            assert tokens.reference is not None
            found[f"{stream}: the residual of the reference"] = _like(
                spec, f"the {stream}'s reference", each.reference, tokens.reference
            )
        if each.term is not None:
            queries = _queries(layer, tokens, branches[stream])
            found[f"{stream}: the term"] = _like(
                spec, f"the {stream}'s queries", each.term(queries), queries
            )
    return found


def _like(spec: Any, what: str, found: Tensor, wanted: Tensor) -> Tensor:
    right = (
        found.shape == wanted.shape
        and found.is_floating_point()
        and (found.is_meta or bool(found.isfinite().all()))
    )
    gave = (
        f"{found.dtype}"
        f" {list(found.shape)}{'' if found.is_meta or found.isfinite().all() else ' with NaN or infinity'}"  # noqa: E501
    )
    require(
        right,
        spec,
        f"give finite floats of the shape of {what}, {list(wanted.shape)}; it gave {gave}",
    )
    return found


def _queries(layer: nn.Module, tokens: Tokens, branch: Branch) -> Tensor:
    """[B, T, S, h, d], the same in every sample, in the type of the weights, as a branch's text
    attention has them.
    """
    (batch, time, places), heads = tokens.hidden.shape[:3], branch.heads
    dtype = next((weight.dtype for weight in layer.parameters()), tokens.hidden.dtype)
    queries = torch.randn(time, places, heads, branch.width // heads, generator=generator(3))
    return queries.to(tokens.hidden.device, dtype).expand(batch, -1, -1, -1, -1)


def _check_tables(
    spec: Any, layer: nn.Module, given: Scene, branches: AV[Branch], both: Heard
) -> None:
    """The first layer's tables serve all layers, call after call."""
    tables = cast(Any, make_layer(spec, branches)).tables(given.layout)
    for _ in range(2):
        heard = _received(spec, layer, given, branches, tables=tables)
        require(
            same(both, heard, EXACT),
            spec,
            "make tables of the layout alone, which serve every layer and every call",
        )


def _check_samples(
    spec: Any, layer: nn.Module, shape: Shape, branches: AV[Branch], both: Heard
) -> None:
    last = slice(SAMPLES - 1, SAMPLES)
    alone = _received(spec, layer, scene(branches, shape, last), branches)
    require(
        same({name: x[last] for name, x in both.items()}, alone, EXACT),
        spec,
        "give each sample what follows from that sample alone",
    )


def _check_padding(
    spec: Any, layer: nn.Module, given: Scene, branches: AV[Branch], both: Heard
) -> None:
    reference, mask = given.streams["audio"].reference, given.streams["audio"].reference_mask
    if reference is None or mask is None:
        return
    changed = given.but("audio", reference=torch.where(mask[..., None], reference, 3 - reference))
    heard = _received(spec, layer, changed, branches)

    def counts(heard: Heard) -> Heard:
        return {
            name: x[mask] if name == "audio: the residual of the reference" else x
            for name, x in heard.items()
        }

    require(
        same(counts(both), counts(heard), EXACT),
        spec,
        "not hear padding: the tokens of the reference that its mask leaves out",
    )


def check_style(spec: StyleSpec, *, branches: AV[BranchSpec] | None = None) -> Style:
    """Build the style part and hold it to the contract of its kind; returns it, with its weights
    moved away from where they start.

    `branches` as for `check_interaction`. Checked: a torch module with weights of its own; a
    residual [B, R, D_a] for references and videos of any length, one token too; each sample, and
    each token of the reference, by itself; the video's latents in any order; and of the rest what
    holds for an interaction. Raises PartContractError.
    """
    built = make_branches(branches)
    layer = make_layer(spec, built)
    check_layer(
        spec,
        layer,
        built,
        lambda module, at: {"residual": _moved(spec, module, at)},
        _seen(built, 4, 5, 6),
    )
    for given in (_seen(built, 4, 5, 6), _seen(built, 1, 1, 1), _seen(built, 9, 2, 1)):
        reference, video = given
        residual = _moved(spec, layer, given)
        last = slice(SAMPLES - 1, SAMPLES)
        alone = _moved(spec, layer, (reference[last], video[last]))
        require(
            _near(residual[last], alone),
            spec,
            "give each sample what follows from that sample alone",
        )
        first = _moved(spec, layer, (reference[:, :1], video))
        require(
            _near(residual[:, :1], first),
            spec,
            "give each token of the reference its own: padding among the others must not count",
        )
        turned = _moved(spec, layer, (reference, video.flip(1)))
        require(
            _near(residual, turned),
            spec,
            "not care in which order the video's latents come: style has nothing to do with time",
        )

    def cast_to(module: nn.Module, dtype: torch.dtype) -> Heard:
        reference, video = (x.to(dtype) for x in _seen(built, 4, 5, 6))
        return {"residual": _moved(spec, module, (reference, video))}

    check_types(spec, layer, cast_to)
    reference, video = (x.to("meta") for x in _seen(built, 4, 5, 6))
    check_meta(spec, built, lambda module: {"residual": _moved(spec, module, (reference, video))})
    return cast(Style, layer)


def _seen(branches: AV[Branch], tokens: int, latents: int, places: int) -> tuple[Tensor, Tensor]:
    """Noise: a reference [B, R, D_a] and a video's hidden states [B, T, S, D_v]."""
    random, (video, audio) = generator(), (branches["video"].width, branches["audio"].width)
    return torch.randn(SAMPLES, tokens, audio, generator=random), torch.randn(
        SAMPLES, latents, places, video, generator=random
    )


def _moved(spec: Any, layer: nn.Module, given: tuple[Tensor, Tensor]) -> Tensor:
    residual = layer(*given)
    require(isinstance(residual, Tensor), spec, "return a residual of the reference")
    return _like(spec, "the reference", cast(Tensor, residual), given[0])


def _near(one: Tensor, two: Tensor) -> bool:
    return same({"": one}, {"": two}, EXACT)
