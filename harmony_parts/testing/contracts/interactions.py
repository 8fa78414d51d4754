"""Contract check of interactions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import torch
from torch import Tensor, nn

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import Branch, BranchSpec, Tokens
from harmony_parts.interaction.protocol import Exchange, Interaction, InteractionSpec
from harmony_parts.testing.contracts.layers import (
    EXACT,
    SAMPLES,
    SHAPES,
    LayerInputs,
    Results,
    Shape,
    check_layer,
    check_meta,
    check_types,
    layer_inputs,
    make_branches,
    make_layer,
    require_like,
    same,
)
from harmony_parts.testing.contracts.require import check_made, generator, require

MAKE_TABLES = object()
"""Stands for the tables that the layer itself makes."""
REFERENCE = "the residual of the reference"


def check_interaction(
    spec: InteractionSpec, *, branches: AV[BranchSpec] | None = None
) -> Interaction:
    """Build an interaction, check its contract, and return it, with perturbed weights.

    `branches`: settings of branches, by default small built-in ones that differ in width and heads;
    pass others if the interaction needs more of them.

    Checked: a torch module that shares no weights; tables for any layout, which serve every layer;
    shapes of residuals, of references and of terms, with a reference and without; nothing for a
    stream that doesn't receive, and the same for one that receives, whether or not both do;
    independent samples; no effect of the reference's padding; repeatability without global
    randomness; no change in place; a gradient for every weight; other types; saved weights; the
    meta device. Raises PartContractError.
    """
    check_made(spec)
    built = make_branches(branches)
    layer = make_layer(spec, built)
    require(
        all(callable(getattr(layer, method, None)) for method in ("tables", "update_reference")),
        spec,
        "build an Interaction, with all methods of the protocol",
    )
    check_layer(
        spec,
        layer,
        built,
        lambda module, inputs: _results(spec, module, inputs, built),
        layer_inputs(built, SHAPES[0]),
    )
    for shape in SHAPES:
        inputs = layer_inputs(built, shape)
        both = _results(spec, layer, inputs, built)
        _check_one_receiver(spec, layer, inputs, built, both)
        _check_tables(spec, layer, inputs, built, both)
        _check_samples(spec, layer, shape, built, both)
        _check_padding(spec, layer, inputs, built, both)

    def in_type(module: nn.Module, dtype: torch.dtype) -> Results:
        return _results(spec, module, layer_inputs(built, SHAPES[0]).cast(dtype), built)

    check_types(spec, layer, in_type)
    empty = make_branches(branches, "meta")
    inputs = layer_inputs(empty, SHAPES[0], device="meta")
    check_meta(spec, empty, lambda module: _results(spec, module, inputs, empty))
    return cast(Interaction, layer)


def _results(
    spec: Any,
    layer: nn.Module,
    inputs: LayerInputs,
    branches: AV[Branch],
    tables: Any = MAKE_TABLES,
) -> Results:
    """What both streams receive, and what the reference does."""
    received = _received(spec, layer, inputs, branches, tables=tables)
    residual = _updated_reference(spec, layer, inputs)
    return received if residual is None else {**received, REFERENCE: residual}


def _updated_reference(spec: Any, layer: nn.Module, inputs: LayerInputs) -> Tensor | None:
    audio = inputs.streams["audio"]
    residual = cast(Any, layer).update_reference(inputs.streams["video"], audio)
    if residual is None:
        return None
    require(audio.reference is not None, spec, "update no reference if the audio has none")
    return require_like(spec, "the audio's reference", residual, cast(Tensor, audio.reference))


def _received(
    spec: Any,
    layer: nn.Module,
    inputs: LayerInputs,
    branches: AV[Branch],
    to: Collection[str] = STREAMS,
    tables: Any = MAKE_TABLES,
) -> Results:
    """What the streams in `to` receive, by names that begin with the stream's; forms are checked.

    A term is called with fixed queries.
    """
    if tables is MAKE_TABLES:
        tables = cast(Any, layer).tables(inputs.layout)
    exchange = layer(inputs.streams["video"], inputs.streams["audio"], tables, to=to)
    require(isinstance(exchange, AV), spec, "return an AV of Exchange")
    found: dict[str, Tensor] = {}
    for stream in exchange:
        each, tokens = exchange[stream], inputs.streams[stream]
        require(isinstance(each, Exchange), spec, "return an AV of Exchange")
        if stream not in to:
            require(
                each.hidden is each.term is None,
                spec,
                f"return nothing for the {stream} stream if it isn't in `to`",
            )
        if each.hidden is not None:
            found[f"{stream}: the residual"] = require_like(
                spec, f"the {stream}'s hidden states", each.hidden, tokens.hidden
            )
        if each.term is not None:
            queries = _queries(layer, tokens, branches[stream])
            found[f"{stream}: the term"] = require_like(
                spec, f"the {stream}'s queries", each.term(queries), queries
            )
    return found


def _queries(layer: nn.Module, tokens: Tokens, branch: Branch) -> Tensor:
    """Queries [B, T, S, h, d] of a text attention, equal in all samples, in the weights' type."""
    (batch, time, places), heads = tokens.hidden.shape[:3], branch.heads
    dtype = next((weight.dtype for weight in layer.parameters()), tokens.hidden.dtype)
    queries = torch.randn(time, places, heads, branch.width // heads, generator=generator(3))
    return queries.to(tokens.hidden.device, dtype).expand(batch, -1, -1, -1, -1)


def _check_one_receiver(
    spec: Any, layer: nn.Module, inputs: LayerInputs, branches: AV[Branch], both: Results
) -> None:
    for stream in STREAMS:
        alone = _received(spec, layer, inputs, branches, to=(stream,))
        wanted = {name: x for name, x in both.items() if name.startswith(stream)}
        require(
            same(wanted, alone, EXACT),
            spec,
            f"return the same for the {stream} stream whether or not the other one is in `to`",
        )


def _check_tables(
    spec: Any, layer: nn.Module, inputs: LayerInputs, branches: AV[Branch], both: Results
) -> None:
    """Tables of one layer serve all layers, in every call."""
    tables = cast(Any, make_layer(spec, branches)).tables(inputs.layout)
    for _ in range(2):
        results = _results(spec, layer, inputs, branches, tables)
        require(
            same(both, results, EXACT),
            spec,
            "make tables that depend only on the layout, and serve every layer in every call",
        )


def _check_samples(
    spec: Any, layer: nn.Module, shape: Shape, branches: AV[Branch], both: Results
) -> None:
    last = slice(SAMPLES - 1, SAMPLES)
    alone = _results(spec, layer, layer_inputs(branches, shape, last), branches)
    require(
        same({name: x[last] for name, x in both.items()}, alone, EXACT),
        spec,
        "keep the samples of a batch independent",
    )


def _check_padding(
    spec: Any, layer: nn.Module, inputs: LayerInputs, branches: AV[Branch], both: Results
) -> None:
    reference, mask = inputs.streams["audio"].reference, inputs.streams["audio"].reference_mask
    if reference is None or mask is None:
        return
    padded = torch.where(mask[..., None], reference, 3 - reference)
    results = _results(spec, layer, inputs.with_tokens("audio", reference=padded), branches)

    def unmasked(results: Results) -> Results:
        return {name: x[mask] if name == REFERENCE else x for name, x in results.items()}

    require(
        same(unmasked(both), unmasked(results), EXACT),
        spec,
        "ignore padding: the tokens of the reference where its mask is False",
    )
