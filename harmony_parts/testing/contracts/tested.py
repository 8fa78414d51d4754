"""A branch or denoiser under test, and the inputs that it is called with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition, Times
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port
from harmony_parts.testing.contracts.require import generator, require

ROUNDING = 1000 * 2**-24
"""How far equal velocities may be apart, relative to the largest.

float32 rounds by u = 2^-24, a sum of n terms is off by at most n u times the sum of their
magnitudes, and the longest sums of a small part (widths, tokens) stay below 10^3 terms. An effect
counts only if it is larger than that.
"""

BATCH = 3
VALUES = AV((0.9, 0.5, 0.2), (0.6, 0.8, 0.3))  # the times of the samples

# --- inputs ---------------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Inputs:
    """What a denoiser is called with; with one stream, what a branch is called with."""

    av: AV[Tensor]
    times: AV[Times]
    conditions: dict[str, Condition]

    @classmethod
    def random(
        cls, shapes: AV[tuple[int, ...]], widths: Mapping[str, int], ports: Mapping[str, Port]
    ) -> Inputs:
        """Noise of these shapes [T, ...] for three samples, each at its own times.

        Conditions have these widths and enter by these ports.
        """
        g = generator()
        av = shapes.map(lambda shape: torch.randn(BATCH, *shape, generator=g))
        times = av.map(lambda x, values: Times.uniform(torch.tensor(values), x.shape[1]), VALUES)
        conditions = {name: _condition(ports[name], widths[name], av, g) for name in sorted(widths)}
        return cls(av, times, conditions)

    def rows(self, index: Tensor) -> Inputs:
        """Only the samples of `index`."""
        return Inputs(
            self.av.map(lambda x: x[index]),
            self.times.map(lambda t: Times(t.values[index], t.index[index])),
            {name: condition.rows(index) for name, condition in self.conditions.items()},
        )

    def with_times(self, stream: str, times: Times) -> Inputs:
        """The inputs with other times of one stream."""
        return attrs.evolve(self, times=self.times.replace(**{stream: times}))

    def with_condition(self, name: str, condition: Condition) -> Inputs:
        """The inputs with another condition of that name."""
        return attrs.evolve(self, conditions=self.conditions | {name: condition})

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The inputs with every tensor changed."""

        def changed(c: Condition) -> Condition:
            null = None if c.null is None else changed(c.null)
            return Condition(change(c.tokens), change(c.mask), null)

        return Inputs(
            self.av.map(change),
            self.times.map(lambda t: Times(change(t.values), change(t.index))),
            {name: changed(condition) for name, condition in self.conditions.items()},
        )

    def tensors(self) -> list[Tensor]:
        """All tensors in the inputs, not copied."""
        found: list[Tensor] = []
        self.map(lambda x: (found.append(x), x)[1])  # type: ignore[func-returns-value]
        return found


def _condition(port: Port, width: int, av: AV[Tensor], g: torch.Generator) -> Condition:
    """A condition with some tokens masked out in some samples, and its null form.

    The null form is one token; of clean latents, none.
    """
    if port == KNOWN_LATENTS:
        tokens = torch.randn(av["video"][:, :1].shape, generator=g)
        mask = _mask(1, (1, 0, 1))
        return Condition(tokens, mask, Condition(torch.zeros_like(tokens), torch.zeros_like(mask)))
    if port.how == "clean_tokens":
        tokens, mask = torch.randn(BATCH, 5, width, generator=g), _mask(5, (5, 3, 0))
        return Condition(tokens, mask, Condition(torch.zeros_like(tokens), torch.zeros_like(mask)))
    tokens, null = (
        torch.randn(BATCH, 4, width, generator=g),
        torch.randn(1, 4, width, generator=g).expand(BATCH, -1, -1),
    )
    return Condition(tokens, _mask(4, (4, 2, 1)), Condition(null, _mask(4, (1, 1, 1))))


def _mask(length: int, counts: tuple[int, ...]) -> Tensor:
    return torch.arange(length) < torch.tensor(counts)[:, None]


# --- the part -------------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Tested:
    """A part under test, as a module from `Inputs` to velocities.

    `make` builds that module, with weights from torch's global generator; `module` is one that it
    built, with perturbed weights.
    """

    part: object
    make: Callable[[], nn.Module]
    inputs: Inputs
    ports: Mapping[str, Port]
    module: nn.Module

    @classmethod
    def of(
        cls,
        part: object,
        make: Callable[[], nn.Module],
        inputs: Inputs,
        ports: Mapping[str, Port],
    ) -> Tested:
        """Build the module and perturb its weights, so that none is zero."""
        return cls(part, make, inputs, ports, perturbed(seeded(make)))

    def __call__(self, inputs: Inputs, **settings: Any) -> AV[Tensor]:
        """The velocities for these inputs."""
        velocities: AV[Tensor] = self.module(inputs, **settings)
        return velocities

    def require_equal(self, one: AV[Tensor], two: AV[Tensor], must: str) -> None:
        """Require that the velocities of `one` are those of `two`, except for rounding."""
        for s in one:
            gap = _gap(one[s], getattr(two, s))
            require(
                gap <= ROUNDING,
                self.part,
                f"{must}; velocities of the {s} differ by {gap:.2g} of the largest",
            )

    def require_different(self, one: AV[Tensor], two: AV[Tensor], must: str) -> None:
        """Require that velocities differ by more than rounding in some stream."""
        require(any(_gap(one[s], getattr(two, s)) > ROUNDING for s in one), self.part, must)

    def require_form(self, velocities: AV[Tensor], like: AV[Tensor], when: str = "") -> None:
        """Require finite velocities of the shapes of the latents `like`."""
        for s in like:
            found: Any = getattr(velocities, s, None)
            shape = list(like[s].shape)
            fits = (
                isinstance(found, Tensor)
                and list(found.shape) == shape
                and found.is_floating_point()
            )
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else repr(found)
            require(
                fits,
                self.part,
                f"return velocities of the {s} in the latents' shape {shape}{when}, not {got}",
            )
            require(
                found.is_meta or found.isfinite().all(),
                self.part,
                f"return finite velocities of the {s}{when}",
            )


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """Build in evaluation mode with torch's global generator seeded, and restore its state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = make()
    return made.eval() if isinstance(made, nn.Module) else made


def perturbed(module: nn.Module) -> nn.Module:
    """Change every trainable weight by a fraction of its usual size, 1 / sqrt(its inputs).

    A weight that starts at zero would hide what comes before it.
    """
    g = generator(1)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.requires_grad:
                size = 0.5 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.1
                weight.add_(size * torch.randn(weight.shape, generator=g, device="cpu").to(weight))
    return module


@contextmanager
def must_run(part: object, what: str) -> Iterator[None]:
    """Turn any error inside into a PartContractError: `part` must do `what`."""
    try:
        yield
    except Exception as error:
        cause = str(error).partition("\n")[0]
        require(False, part, f"{what}; it raised {type(error).__name__}: {cause}")


def _gap(one: Tensor, two: Tensor | None) -> float:
    """The largest difference, relative to the largest of `one`."""
    if two is None or one.shape != two.shape:
        return math.inf
    one, two = one.double(), two.double()
    return float(
        (one - two).abs().max() / one.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    )
