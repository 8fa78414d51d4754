"""The figures of `harmony explain`: parts without weights, their account, and both as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

if TYPE_CHECKING:
    from harmony_parts.assembly.build import Parts
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.cost.account import Account


def build_empty(recipe: Recipe) -> Parts:
    """Build the parts without weights, or with weights if a part can't be built otherwise."""
    from harmony_parts.assembly.build import build

    if getattr(recipe.denoiser, "compile", False):  # compiled modules can't be counted
        recipe = attrs.evolve(
            recipe, denoiser=attrs.evolve(cast("Any", recipe.denoiser), compile=False)
        )
    try:
        return build(recipe, recipe.train.seed, empty=("codecs", "encoders", "denoiser"))
    # what torch raises if a part reads a value from an empty tensor
    except (RuntimeError, NotImplementedError):
        return build(recipe, recipe.train.seed)


def account_or_reason(recipe: Recipe, parts: Parts, dtype: str) -> Account | str:
    """The account of the parts, or the reason why they can't be counted."""
    import torch

    from harmony_parts.cost.account import account
    from harmony_parts.guidance.demands import demands
    from harmony_parts.models.saved_parts import saved_recipe

    names = demands(recipe.sample.guidance, tuple(parts.codecs)).models
    others = {name: build_empty(saved_recipe(name)) for name in names}
    try:
        return account(recipe, parts, getattr(torch, dtype), others)
    # a third party's part may raise anything on the meta device
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        return (
            f"can't be counted: a part doesn't run on the meta device ({type(error).__name__}:"
            f" {reason[:200]})"
        )


def figures(recipe: Recipe, parts: Parts, account: Account | str, gpus: int) -> dict[str, Any]:
    """Latents, parameters, FLOPs and bytes as JSON.

    If a part can't be counted, `uncounted` is the reason, and FLOPs and memory are left out.
    """
    from harmony_parts.codecs.protocol import grid_of
    from harmony_parts.cost.gpus import gpu_figures
    from harmony_parts.cost.parameters import parameters

    counts = parts.lengths()
    result: dict[str, Any] = {
        "recipe": recipe.name,
        "latents": {
            s: [counts[s], *grid_of(parts.codecs[s]), parts.codecs[s].channels] for s in counts
        },
        "parameters": {name: attrs.asdict(weights) for name, weights in parameters(parts).items()},
    }
    if isinstance(account, str):
        return result | {"uncounted": account}
    return result | {
        "dtype": account.dtype,
        "flops": _flops(account),
        "memory": {
            "inference": _inference(account),
            "training": _training(account),
            "each_gpu": gpu_figures(recipe, account, gpus) if account.training else None,
        },
    }


def _flops(account: Account) -> dict[str, Any]:
    tasks = {
        task: {
            "passes": dict(runs),
            "step": account.per_step(task),
            "clip": account.per_clip(task),
            "anchors": attrs.asdict(account.anchors[task]) if task in account.anchors else None,
        }
        for task, runs in account.tasks.items()
    }
    return {
        "pass": {"total": sum(account.steps.values()), "steps": dict(account.steps)},
        "tasks": tasks,
        "training": {mode: each.flops for mode, each in account.training.items()},
    }


def _inference(account: Account) -> dict[str, Any]:
    return {
        "weights": account.weights_bytes,
        "not_trained": account.frozen_bytes,
        **({"other_models": dict(account.others)} if account.others else {}),
        "activations": account.activations,
        "all": account.inference_bytes(),
        "offloaded": dict(account.offloaded),
    }


def _training(account: Account) -> dict[str, Any]:
    return {
        mode: {
            "kept": each.saved,
            "kept_per_block": each.saved_per_block,
            "activations": each.peak,
            "one_gpu": account.training_memory(mode).total,
        }
        for mode, each in account.training.items()
    }
