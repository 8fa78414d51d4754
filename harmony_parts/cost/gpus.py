"""Memory and messages of each GPU in training, by the number of GPUs, as the strategy sets them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from harmony_parts.report.text import bytes_text, flops_text

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.cost.account import Account, TrainingMemory
    from harmony_parts.cost.count import TrainingPass

MACHINE = 8  # GPUs of a machine
REDUCED_BYTES = 4  # per number of weights and gradients on their way: they are float32


@attrs.frozen
class Traffic:
    """Bytes that a GPU sends while it computes one clip, or its part of one, there and back."""

    weights: int  # gathered twice by the GPUs that divide a copy, and their gradients
    copies: int  # gradients, summed over the copies
    tokens: int  # exchanged by the GPUs that share a clip

    @classmethod
    def of(cls, numbers: int, gpus: int, shards: int, tokens: int) -> Traffic:
        """3 P (n - 1) / n numbers within a copy of P, and 2 P / n (r - 1) / r between r copies.

        Those are the amounts of ring algorithms.
        """
        size, copies = REDUCED_BYTES * numbers, gpus // shards
        return cls(
            3 * size * (shards - 1) // shards,
            2 * size * (copies - 1) // (shards * copies),
            tokens,
        )


@attrs.frozen
class EachGpu:
    """What each of so many GPUs has to do."""

    gpus: int
    shards: int  # that divide a copy of the weights
    seq: int  # that share a clip
    one: TrainingPass
    memory: TrainingMemory
    traffic: Traffic


def shards_of(recipe: Recipe, gpus: int) -> int:
    """How many of so many GPUs divide a copy of the weights.

    A strategy of one process counts as FSDP within a machine, as which the recipe would be trained.
    """
    return recipe.train.strategy.shards_of(gpus, min(gpus, MACHINE)) or min(gpus, MACHINE)


def counts_up_to(gpus: int) -> list[int]:
    """1, 2, 4 and so on, and the number itself."""
    return [*(2**k for k in range(gpus.bit_length()) if 2**k < gpus), gpus]


def each_gpu(recipe: Recipe, account: Account, gpus: int) -> Iterator[EachGpu]:
    """For each number of GPUs that the strategy can use, up to `gpus`."""
    seq, shared, mode = recipe.train.strategy.seq, account.shared, account.recompute
    for n in counts_up_to(gpus):
        shards, together = shards_of(recipe, n), seq if n > 1 else 1
        if n % together or isinstance(shared, str):
            continue
        one = account.training[mode] if together == 1 or shared is None else shared
        memory = account.training_memory(mode, shards, one)
        yield EachGpu(
            n, shards, together, one, memory, Traffic.of(account.trained, n, shards, one.sent)
        )


def gpu_lines(recipe: Recipe, account: Account, gpus: int) -> list[str]:
    """For each number of GPUs what the memory of each of them holds, and what it does."""
    if isinstance(account.shared, str):
        return [f"$.train.strategy.seq: {account.shared}"]
    lines = [
        f"one clip at a time on each, in {account.dtype}, recomputing"
        f" {account.recompute.replace('_', ' ')};"
        f" {MACHINE} GPUs a machine; weights and gradients travel in float32"
    ]
    for each in each_gpu(recipe, account, gpus):
        parts = " + ".join(
            f"{bytes_text(size)} {name}" for name, size in attrs.asdict(each.memory).items() if size
        )
        divided = f", {each.shards} divide a copy" if each.shards > 1 else ""
        shared = f", {each.seq} share a clip" if each.seq > 1 else ""
        lines.append(
            f"{each.gpus} GPU{'s' if each.gpus > 1 else ''}{divided}{shared}: {parts} ="
            f" {bytes_text(each.memory.total)}"
        )
        if each.gpus > 1:
            lines.append(f"  for {_clip(each)} each computes {_work(each)}")
    return lines


def _clip(each: EachGpu) -> str:
    return "a clip" if each.seq == 1 else f"1/{each.seq} of a clip"


def _work(each: EachGpu) -> str:
    names = {
        "weights": "of weights and their gradients",
        "copies": "between copies",
        "tokens": "of tokens",
    }
    sent = [
        f"{bytes_text(size)} {names[name]}"
        for name, size in attrs.asdict(each.traffic).items()
        if size
    ]
    return f"{flops_text(each.one.flops)} and sends {', '.join(sent) or 'nothing'}"


def gpu_figures(recipe: Recipe, account: Account, gpus: int) -> dict[str, Any]:
    """The same as JSON: by number of GPUs."""
    result = {
        str(each.gpus): {
            "shards": each.shards,
            "seq": each.seq,
            **attrs.asdict(each.memory),
            "total": each.memory.total,
            "flops": each.one.flops,
            "sent": attrs.asdict(each.traffic),
        }
        for each in each_gpu(recipe, account, gpus)
    }
    why = {"refused": account.shared} if isinstance(account.shared, str) else {}
    return {"recompute": account.recompute, "gpus": result, **why}
