"""Contract checks that branches and denoisers share: from noisy latents to velocities."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, Condition, Times
from harmony_parts.denoisers.protocol import KNOWN_LATENTS
from harmony_parts.testing.contracts.require import generator, no_global_randomness, require
from harmony_parts.testing.contracts.tested import BATCH, Tested, must_run, perturbed, seeded

COARSE = 2**-3
"""How far velocities of bfloat16 weights may be from those of float32, relative to their norm: u =
2^-9, and some 64 roundings in a row, all in one direction.
"""
JUNK = 9.0  # the value of tokens that are masked out


@torch.no_grad()
def check_purity(tested: Tested) -> AV[Tensor]:
    """Shapes, repeatability, no change in place and no global randomness; returns velocities."""
    before = [x.clone() for x in tested.inputs.tensors()]
    with no_global_randomness(tested.part):
        with must_run(tested.part, "take latents, times and conditions, and return velocities"):
            velocities = tested(tested.inputs)
        tested.require_form(velocities, tested.inputs.av)
        again = tested(tested.inputs)
    unchanged = all(torch.equal(x, y) for x, y in zip(before, tested.inputs.tensors(), strict=True))
    require(unchanged, tested.part, "change none of its latents, times and conditions in place")
    require(
        all(torch.equal(velocities[s], again[s]) for s in velocities),
        tested.part,
        "return the same velocities for the same inputs, bit for bit",
    )
    return velocities


@torch.no_grad()
def check_velocities(
    tested: Tested,
    velocities: AV[Tensor],
    unused: Collection[str] = (),
    *,
    one_time: bool = False,
) -> None:
    """Compare velocities for changed inputs with those for `tested.inputs`.

    Conditions in `unused` need not have an effect, nor, with `one_time`, the time of one latent.
    """
    _check_seed(tested)
    _check_samples(tested, velocities)
    for name in tested.inputs.conditions:
        _check_mask(tested, velocities, name)
        if name not in unused:
            _check_effect(tested, velocities, name)
    for stream in tested.inputs.av:
        _check_times(tested, velocities, stream, one_time=one_time)
    _check_lengths(tested, velocities)
    _check_types(tested, velocities)
    _check_meta(tested, velocities)


def _check_seed(tested: Tested) -> None:
    one, two = seeded(tested.make).state_dict(), seeded(tested.make).state_dict()
    same = one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    require(
        same,
        tested.part,
        "initialise its weights from torch's global generator, which assembly seeds: equal seeds"
        " must give equal weights",
    )


def _check_samples(tested: Tested, velocities: AV[Tensor]) -> None:
    for row in range(BATCH):
        index = torch.tensor([row])
        tested.require_equal(
            velocities.map(lambda v: v[index]),  # noqa: B023
            tested(tested.inputs.rows(index)),
            "keep the samples of a batch independent: each must get the velocities that it gets in"
            " a batch of one",
        )


def _check_mask(tested: Tested, velocities: AV[Tensor], name: str) -> None:
    """Masked tokens have no effect, however many; a full mask and the null form run."""
    condition, inputs = tested.inputs.conditions[name], tested.inputs
    counts = condition.mask.reshape(*condition.mask.shape, *(1,) * (condition.tokens.ndim - 2))
    junk = attrs.evolve(condition, tokens=condition.tokens.where(counts, JUNK))
    ignore = f"ignore tokens of {name!r} where its mask is False"
    tested.require_equal(velocities, tested(inputs.with_condition(name, junk)), ignore)
    if tested.ports[name] != KNOWN_LATENTS:
        more = torch.full_like(condition.tokens[:, :2], JUNK)
        longer = Condition(
            torch.cat((condition.tokens, more), dim=1),
            torch.cat((condition.mask, torch.zeros(BATCH, 2, dtype=torch.bool)), dim=1),
        )
        tested.require_equal(
            velocities,
            tested(inputs.with_condition(name, longer)),
            f"{ignore}, however many there are",
        )
    nothing = attrs.evolve(condition, mask=torch.zeros_like(condition.mask))
    for form, when in (
        (nothing, f" if all tokens of {name!r} are masked out"),
        (condition.dropped(), f" for the null form of {name!r}"),
    ):
        with must_run(tested.part, f"run{when}"):
            made = tested(inputs.with_condition(name, form))
        tested.require_form(made, inputs.av, when)


def _check_effect(tested: Tested, velocities: AV[Tensor], name: str) -> None:
    condition = tested.inputs.conditions[name]
    tokens = torch.randn(condition.tokens.shape, generator=generator(2))
    other = tested.inputs.with_condition(name, attrs.evolve(condition, tokens=tokens))
    tested.require_different(
        velocities,
        tested(other),
        f"use the condition {name!r}, which it accepts: with other tokens, velocities are the same",
    )


def _check_times(tested: Tested, velocities: AV[Tensor], stream: str, *, one_time: bool) -> None:
    """Times are values[index], in any order; other times of all latents or of one change it.

    A value may belong to no latent: `clean_where` can add such a value.
    """
    plain, latents = tested.inputs.times[stream], tested.inputs.av[stream].shape[1]
    now, last = plain.values, (torch.arange(latents) == latents - 1).long().expand(BATCH, -1)

    def at(*values: Tensor, index: Tensor) -> AV[Tensor]:
        with must_run(tested.part, "take Times of several values and an index [B, T] into them"):
            times = Times(torch.cat(values, dim=1), index)
            return tested(tested.inputs.with_times(stream, times))

    by_index = (
        f"take the time of each latent of the {stream} as values[index], however many values there"
        " are and in any order"
    )
    tested.require_equal(velocities, at(now, now, index=last), by_index)
    tested.require_equal(velocities, at(0 * now + 1, now, index=1 + 0 * last), by_index)
    one = at(now, 0.5 * now, index=last)
    tested.require_equal(one, at(0.5 * now, now, index=1 - last), by_index)
    own, other = velocities.only((stream,)), at(0.5 * now, index=0 * last)
    tested.require_different(
        own,
        other.only((stream,)),
        f"use the time of the {stream}: at another time, its velocities are the same",
    )
    if one_time:
        return
    tested.require_different(
        own,
        one.only((stream,)),
        f"use the time of each latent: another time for one latent of the {stream} changes nothing",
    )


def _check_lengths(tested: Tested, velocities: AV[Tensor]) -> None:
    """A longer clip, then the first one again."""
    longer = tested.inputs.av.map(lambda x: torch.cat((x, x[:, :2]), dim=1))
    times = longer.map(lambda x, t: Times.uniform(t.values[:, 0], x.shape[1]), tested.inputs.times)
    with must_run(tested.part, "take another number of latents than before"):
        made = tested(attrs.evolve(tested.inputs, av=longer, times=times))
        again = tested(tested.inputs)
    tested.require_form(made, longer, " for a longer clip")
    tested.require_equal(velocities, again, "return the same velocities after a longer clip")


def _check_types(tested: Tested, velocities: AV[Tensor]) -> None:
    """Weights in float64 and bfloat16, with latents in the type that a sampler gives them."""
    for dtype, of in ((torch.float64, torch.float64), (torch.bfloat16, torch.float32)):
        module = perturbed(seeded(tested.make)).to(dtype)
        inputs = tested.inputs.map(lambda x: x.to(of) if x.is_floating_point() else x)  # noqa: B023
        when = f" after .to({dtype}), with latents of {of}"
        with must_run(tested.part, f"run{when}"):
            made: AV[Tensor] = module(inputs)
        tested.require_form(made, inputs.av, when)
        for s in made:
            require(
                made[s].dtype in (dtype, of),
                tested.part,
                f"return velocities of {dtype} or {of}{when}, not of {made[s].dtype}",
            )
        compute = f"compute the same{when}, except for rounding"
        if dtype == torch.float64:
            tested.require_equal(velocities, made, compute)
        off = {
            s: float((made[s].double() - velocities[s]).norm() / velocities[s].norm()) for s in made
        }
        require(
            all(share <= COARSE for share in off.values()),
            tested.part,
            f"{compute}; it is off by {max(off.values()):.2g} of the norm",
        )


def _check_meta(tested: Tested, velocities: AV[Tensor]) -> None:
    """On the meta device: build, run, and load the weights of another module, as saved ones are."""
    with must_run(tested.part, "be built, and run, on the meta device, where tensors have no data"):
        with torch.device("meta"):
            empty, filled = seeded(tested.make), seeded(tested.make)
        made: AV[Tensor] = empty(tested.inputs.map(lambda x: x.to("meta")))
    tested.require_form(made, tested.inputs.av, " on the meta device")
    elsewhere = [
        name for name, x in (*empty.named_parameters(), *empty.named_buffers()) if not x.is_meta
    ]
    require(
        not elsewhere,
        tested.part,
        "create all its tensors on torch's default device; on another one are"
        f" {', '.join(elsewhere)}",
    )
    state = tested.module.state_dict()
    if not state:
        return
    with must_run(
        tested.part,
        "run with saved weights in a new module: tensors that aren't saved must be buffers, or be"
        " created when they are needed",
    ):
        filled.load_state_dict(state, assign=True)
        if any(x.is_meta for x in (*filled.parameters(), *filled.buffers())):
            return  # buffers that aren't saved: such a module is built anew
        again: AV[Tensor] = filled(tested.inputs)
    require(
        all(torch.equal(again[s], velocities[s]) for s in velocities),
        tested.part,
        "return the same velocities from a new module with the same weights",
    )


def check_gradients(tested: Tested, idle: Collection[str] = (), prefix: str = "") -> set[str]:
    """Every trainable weight gets a gradient, unless its name fits a pattern of `idle`.

    Also after a call in inference mode. Names are given without `prefix`. Returns the names of the
    weights without a gradient.
    """
    module = perturbed(seeded(tested.make))  # a new one: caches must be filled in the first call
    weights = {
        name.removeprefix(prefix): weight
        for name, weight in module.named_parameters()
        if weight.requires_grad
    }
    if not weights:
        return set()
    with torch.inference_mode():
        module(tested.inputs)
    g = generator(3)
    with must_run(
        tested.part,
        "be trainable after a call in torch.inference_mode(): cache no tensor that was made in it",
    ):
        velocities: AV[Tensor] = module(tested.inputs)
        torch.stack(
            [
                (velocities[s] * torch.randn(velocities[s].shape, generator=g)).sum()
                for s in velocities
            ]
        ).sum().backward()
    without = {
        name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()
    }
    lost = sorted(name for name in without if not any(fnmatch(name, pattern) for pattern in idle))
    require(
        not lost,
        tested.part,
        "give each weight a gradient, or freeze it (requires_grad_(False)); none reaches"
        f" {', '.join(lost)}",
    )
    return without
