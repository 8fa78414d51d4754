"""Processes that are to train one model compare what each was started with."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harmony_parts.assembly.read import write_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import AssemblyError, RunError
from harmony_parts.strategies.protocol import Strategy
from harmony_parts.train.run_folder import differences


def agree_on_start(
    strategy: Strategy, recipe: Recipe, start: Sequence[str | Path], resume: bool
) -> None:
    """Raise RunError in every process, naming it and the difference, if one was started otherwise.

    Recipe (with the versions of plugins in it), torch, this library, initial models, and whether
    the run is resumed. Raises AssemblyError if they can't share a batch evenly.
    """
    facts = {
        "recipe": write_recipe(recipe),
        "torch": torch.__version__,
        "harmony-parts": version("harmony-parts"),
        "start": [str(model) for model in start],
        "resume": resume,
    }
    _compare(strategy, facts)
    if recipe.train.batch % (strategy.ranks // strategy.seq):
        raise AssemblyError(
            f"$.train.batch: {recipe.train.batch} clips can't be shared evenly by"
            f" {strategy.ranks} processes{_groups(strategy)}: set a multiple",
            recipe.name,
        )


def _groups(strategy: Strategy) -> str:
    return f" in groups of {strategy.seq}" if strategy.seq > 1 else ""


def agree_on_weights(strategy: Strategy, weights: Mapping[str, Tensor]) -> None:
    """Raise RunError in every process if one has other weights to begin with.

    They are whole: FSDP would put the parts of different models together.
    """
    if strategy.ranks > 1:
        sums = {name: checksum(tensor) for name, tensor in weights.items()}
        digest = hashlib.blake2b(json.dumps(sums).encode(), digest_size=16).hexdigest()
        _compare(strategy, {"initial weights": digest})


def agree_on_data(strategy: Strategy, identity: Mapping[str, Any]) -> None:
    """Raise RunError in every process if one found other data."""
    _compare(strategy, {"data": identity})


def checksum(tensor: Tensor) -> str:
    """A text that differs if the bits of two tensors do: sums of their numbers, in two ways."""
    bits = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    words = bits[: len(bits) // 4 * 4].view(torch.int32)
    # the second sum depends on the order of the rows
    rows = words[: len(words) // 64 * 64].view(-1, 64).sum(1, dtype=torch.int64)
    places = (rows * torch.arange(1, len(rows) + 1)).sum()
    return f"{list(tensor.shape)}:{int(words.sum(dtype=torch.int64))}:{int(places)}"


def _compare(strategy: Strategy, facts: Mapping[str, Any]) -> None:
    """Compare the facts of each process with those of process 0."""
    if strategy.ranks == 1:
        return
    first, *others = (json.loads(text) for text in strategy.gather(json.dumps(facts)))
    faults = [
        f"  process {rank}: {fault}"
        for rank, other in enumerate(others, 1)
        for name in facts
        for fault in _faults(name, first[name], other[name])
    ]
    if faults:
        raise RunError(
            f"the {strategy.ranks} processes weren't started alike; compared with process 0:\n"
            + "\n".join(faults)
        )


def _faults(name: str, first: Any, other: Any) -> list[str]:
    if first == other:
        return []
    if name != "recipe":
        return [f"{name}: {other!r} instead of {first!r}"]
    tables = (tomllib.loads(text) for text in (first, other))
    return [line for _, line in differences(*tables)] or ["the recipe's plugins: other versions"]
