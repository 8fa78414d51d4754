"""Contract checks of a denoiser's call: `read`, hints, cache, one stream, known latents."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition
from harmony_parts.denoisers.protocol import KNOWN_LATENTS
from harmony_parts.errors import PartContractError
from harmony_parts.testing.contracts.require import generator, require
from harmony_parts.testing.contracts.tested import (
    BATCH,
    ROUNDING,
    Inputs,
    Tested,
    must_run,
    perturbed,
    seeded,
)

OTHER = {"video": "audio", "audio": "video"}


def check_read(tested: Tested, both: AV[Tensor]) -> None:
    """Velocities of a stream are the same whether or not the other one is read."""
    for s in both:
        one = tested(tested.inputs, read=(s,))
        tested.require_form(one, tested.inputs.av.only((s,)), f" with read=({s!r},)")
        tested.require_equal(
            both.only((s,)),
            one,
            f"return the same velocities of the {s} whether or not the other stream is read",
        )


def check_hints(tested: Tested, hints: Collection[str]) -> None:
    """Every hint runs, and `isolate` separates the streams."""
    for hint in hints:
        with must_run(tested.part, f"run with the hint {hint!r}, which is in its `hints`"):
            velocities = tested(tested.inputs, hints={hint})
        tested.require_form(velocities, tested.inputs.av, f" with the hint {hint!r}")
    if "isolate" not in hints:
        return
    apart = tested(tested.inputs, hints={"isolate"})
    for s in apart:
        changed = tested(_with_other(tested, OTHER[s]), hints={"isolate"})
        tested.require_equal(
            apart.only((s,)),
            changed,
            f"let nothing of the {OTHER[s]}, its times and its conditions influence the {s} with"
            " the hint `isolate`",
        )


def _with_other(tested: Tested, stream: str) -> Inputs:
    """Inputs with other latents, times and conditions of one stream."""
    if stream not in tuple(tested.inputs.av):
        return tested.inputs
    g = generator(5)
    now, latents = tested.inputs.times[stream], tested.inputs.av[stream]
    inputs = tested.inputs.with_times(stream, attrs.evolve(now, values=0.5 * now.values))
    noise = torch.randn(latents.shape, generator=g)
    inputs = attrs.evolve(inputs, av=inputs.av.replace(**{stream: noise}))
    for name, condition in tested.inputs.conditions.items():
        if tested.ports[name].stream == stream:
            tokens = torch.randn(condition.tokens.shape, generator=g)
            other = Condition(tokens, condition.mask, condition.null)
            inputs = inputs.with_condition(name, other)
    return inputs


def check_cache(tested: Tested, hints: Collection[str]) -> None:
    """A cache changes no velocity: over steps, with hints, with one clean stream and another."""
    cache: dict[str, Any] = {}
    must = (
        "return the same velocities with a cache, passed again while conditions are the same"
        " objects, as without one"
    )
    first = tested.inputs
    later = first
    for s in first.av:
        halved = attrs.evolve(first.times[s], values=0.5 * first.times[s].values)
        later = later.with_times(s, halved)
    for step in (first, later, first):
        tested.require_equal(tested(step), tested(step, cache=cache), must)
    for hint in hints:
        tested.require_equal(
            tested(later, hints={hint}),
            tested(later, hints={hint}, cache=cache),
            f"{must}, also with the hint {hint!r}",
        )
    for s in first.av if len(tuple(first.av)) == 2 else ():
        zero = attrs.evolve(later.times[s], values=0 * later.times[s].values)
        clean = later.with_times(s, zero)
        another = attrs.evolve(clean, av=clean.av.replace(**{s: clean.av[s] + 1}))
        noisier = clean.with_times(OTHER[s], first.times[OTHER[s]])
        for step in (clean, noisier, another, clean):
            tested.require_equal(
                tested(step, read=(OTHER[s],)),
                tested(step, read=(OTHER[s],), cache=cache),
                f"{must}, also if the {s} is clean",
            )


def check_one_stream(tested: Tested) -> None:
    """One stream without the other runs, or is refused with an error that names the other."""
    for s in tested.inputs.av if len(tuple(tested.inputs.av)) == 2 else ():
        alone = attrs.evolve(
            tested.inputs,
            av=tested.inputs.av.only((s,)),
            times=tested.inputs.times.only((s,)),
        )
        try:
            velocities = tested(alone)
        except PartContractError as error:
            require(
                OTHER[s] in str(error),
                tested.part,
                f"name the {OTHER[s]} in its PartContractError if that stream is absent",
            )
        except Exception as error:
            must = (
                f"run with only the {s}, or raise a PartContractError that names the absent"
                f" {OTHER[s]}, not {type(error).__name__}"
            )
            require(False, tested.part, must)
        else:
            tested.require_form(velocities, alone.av, f" if the {OTHER[s]} is absent")


def check_depth(tested: Tested, velocities: AV[Tensor]) -> None:
    """A denoiser whose `blocks` are a ModuleList runs exactly the blocks in it."""
    module = perturbed(seeded(tested.make))
    denoiser = cast(Any, module).denoiser
    if not isinstance(denoiser.blocks, nn.ModuleList) or len(denoiser.blocks) < 2:
        return
    with must_run(tested.part, "run with fewer blocks in its ModuleList `blocks`"):
        denoiser.blocks = denoiser.blocks[:1]
        shallow: AV[Tensor] = module(tested.inputs)
    tested.require_form(shallow, tested.inputs.av, " with one block")
    tested.require_different(
        velocities,
        shallow,
        "run exactly the blocks in its ModuleList `blocks`: with only the first, velocities are the"
        " same",
    )


@torch.no_grad()
def check_known_latents(tested: Tested, velocities: AV[Tensor]) -> None:
    """x_t - t v is the known latent where its mask is True, whatever it replaces."""
    for name in (name for name, port in tested.ports.items() if port == KNOWN_LATENTS):
        known, x = tested.inputs.conditions[name], tested.inputs.av["video"]
        n = known.tokens.shape[1]
        where = torch.zeros(x.shape[:2], dtype=torch.bool)
        where[:, :n] = known.mask
        where = where[:, :, None, None, None]
        t = tested.inputs.times["video"].per_latent()[:, :n, None, None, None]
        towards = ((x[:, :n] - known.tokens) / t)[known.mask]
        found = velocities["video"][:, :n][known.mask]
        require(
            bool((found - towards).abs().max() <= ROUNDING * towards.abs().max()),
            tested.part,
            f"return (x_t - known) / t for a latent that the condition {name!r} gives",
        )
        replaced = torch.where(where, torch.randn(x.shape, generator=generator(6)), x)
        other = tested(attrs.evolve(tested.inputs, av=tested.inputs.av.replace(video=replaced)))
        rest = other.replace(video=torch.where(where, velocities["video"], other["video"]))
        tested.require_equal(
            velocities, rest, f"ignore the latents that the known latents of {name!r} replace"
        )
        zero = attrs.evolve(tested.inputs.times["video"], values=torch.zeros(BATCH, 1))
        at_zero = tested(tested.inputs.with_times("video", zero))["video"][:, :n][known.mask]
        require(
            bool((at_zero == 0).all()),
            tested.part,
            f"return 0 for a latent that {name!r} gives, at time 0",
        )
