"""Memory of each GPU in training, by the number of GPUs, as the recipe's strategy divides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from harmony_parts.report.text import bytes_text

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.cost.account import Account, TrainingMemory

MACHINE = 8  # GPUs of a machine


def shards_of(recipe: Recipe, gpus: int) -> int:
    """How many of so many GPUs divide a copy of the weights.

    A strategy of one process counts as FSDP within a machine, as which the recipe would be trained.
    """
    return recipe.train.strategy.shards_of(gpus, min(gpus, MACHINE)) or min(gpus, MACHINE)


def counts_up_to(gpus: int) -> list[int]:
    """1, 2, 4 and so on, and the number itself."""
    return [*(2**k for k in range(gpus.bit_length()) if 2**k < gpus), gpus]


def recompute_of(account: Account, denoiser: Any) -> str:
    """What the denoiser recomputes in training, as the recipe sets it."""
    mode = getattr(denoiser, "recompute", "nothing")
    return mode if mode in account.training else next(iter(account.training))


def gpu_lines(recipe: Recipe, denoiser: Any, account: Account, gpus: int) -> list[str]:
    """A line for each number of GPUs, with what the memory of each of them holds."""
    mode = recompute_of(account, denoiser)
    lines = [
        f"one clip at a time on each, in {account.dtype}, recomputing {mode.replace('_', ' ')};"
        f" {MACHINE} GPUs a machine"
    ]
    for n in counts_up_to(gpus):
        shards = shards_of(recipe, n)
        memory = account.training_memory(mode, shards)
        parts = " + ".join(f"{bytes_text(size)} {name}" for name, size in _named(memory) if size)
        divided = f", {shards} divide a copy" if shards > 1 else ""
        lines.append(
            f"{n} GPU{'s' if n > 1 else ''}{divided}: {parts} = {bytes_text(memory.total)}"
        )
    return lines


def gpu_figures(recipe: Recipe, denoiser: Any, account: Account, gpus: int) -> dict[str, Any]:
    """The same as JSON: by number of GPUs."""
    mode = recompute_of(account, denoiser)
    result = {}
    for n in counts_up_to(gpus):
        shards = shards_of(recipe, n)
        memory = account.training_memory(mode, shards)
        result[str(n)] = {"shards": shards, **attrs.asdict(memory), "total": memory.total}
    return {"recompute": mode, "gpus": result}


def _named(memory: TrainingMemory) -> list[tuple[str, int]]:
    return [(name, size) for name, size in attrs.asdict(memory).items()]
