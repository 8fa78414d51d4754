"""What the contracts of branches and denoisers have in common: both answer noisy latents, times and
conditions with velocities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition, Times
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port
from harmony_parts.testing.contracts.require import generator, own_randomness, require

ROUNDING = 1000 * 2**-24
"""How far equal answers may be apart, relative to the largest velocity. float32 rounds by u =
2^-24, a sum of n terms is off by at most n u of the sum of their sizes, and a small part's longest
sums (widths, tokens) stay below 10^3 terms. What matters must matter by more than that."""
COARSE = 2**-3
"""The same of bfloat16 weights, of the norm of all velocities: u = 2^-9, and some 64 roundings one
after the other, all in one direction.
"""

BATCH = 3
VALUES = AV((0.9, 0.5, 0.2), (0.6, 0.8, 0.3))  # the times of the samples
JUNK = 9.0  # what stands where a mask says that nothing does

# --- what is asked --------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Question:
    """What a denoiser is called with; of one stream, what a branch is."""

    av: AV[Tensor]
    times: AV[Times]
    conditions: dict[str, Condition]

    @classmethod
    def about(
        cls, shapes: AV[tuple[int, ...]], widths: Mapping[str, int], ports: Mapping[str, Port]
    ) -> Question:
        """Noise of those shapes [T, ...] for three samples, each at times of its own, told
        conditions of those widths at those ports.
        """
        g = generator()
        av = shapes.map(lambda shape: torch.randn(BATCH, *shape, generator=g))
        times = av.map(lambda x, values: Times.uniform(torch.tensor(values), x.shape[1]), VALUES)
        return cls(
            av, times, {name: _said(ports[name], widths[name], av, g) for name in sorted(widths)}
        )

    def rows(self, index: Tensor) -> Question:
        """The samples of `index` alone."""
        said = {name: condition.rows(index) for name, condition in self.conditions.items()}
        return Question(
            self.av.map(lambda x: x[index]),
            self.times.map(lambda t: Times(t.values[index], t.index[index])),
            said,
        )

    def at(self, stream: str, times: Times) -> Question:
        """Other times of one stream."""
        return attrs.evolve(self, times=self.times.replace(**{stream: times}))

    def told(self, name: str, condition: Condition) -> Question:
        """Another condition of that name."""
        return attrs.evolve(self, conditions=self.conditions | {name: condition})

    def map(self, change: Callable[[Tensor], Tensor]) -> Question:
        """All tensors changed."""

        def said(c: Condition) -> Condition:
            return Condition(
                change(c.tokens), change(c.mask), None if c.null is None else said(c.null)
            )

        times = self.times.map(lambda t: Times(change(t.values), change(t.index)))
        return Question(
            self.av.map(change),
            times,
            {name: said(condition) for name, condition in self.conditions.items()},
        )

    def tensors(self) -> list[Tensor]:
        """All of them, as they are."""
        found: list[Tensor] = []
        self.map(lambda x: (found.append(x), x)[1])  # type: ignore[func-returns-value]
        return found


def _said(port: Port, width: int, av: AV[Tensor], g: torch.Generator) -> Condition:
    """Tokens of which not all count in each sample; the null form is one token, of clean latents
    none.
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


# --- who is asked ---------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Asked:
    """A part under test: `make` builds it, with weights from torch's global generator, as a module
    from a question to velocities.
    """

    part: object
    make: Callable[[], nn.Module]
    question: Question
    ports: Mapping[str, Port]
    module: nn.Module

    @classmethod
    def of(
        cls,
        part: object,
        make: Callable[[], nn.Module],
        question: Question,
        ports: Mapping[str, Port],
    ) -> Asked:
        """The part, built, with no weight left at zero."""
        return cls(part, make, question, ports, awake(seeded(make)))

    def __call__(self, question: Question, **settings: Any) -> AV[Tensor]:
        """The velocities."""
        made: AV[Tensor] = self.module(question, **settings)
        return made

    def same(self, one: AV[Tensor], two: AV[Tensor], must: str) -> None:
        """The velocities of `one` must be those of `two`, but for rounding."""
        for s in one:
            gap = _gap(one[s], getattr(two, s))
            require(
                gap <= ROUNDING,
                self.part,
                f"{must}; velocities of the {s} differ by {gap:.2g} of the largest",
            )

    def other(self, one: AV[Tensor], two: AV[Tensor], must: str) -> None:
        """They must be different by more than rounding, in some stream."""
        require(any(_gap(one[s], getattr(two, s)) > ROUNDING for s in one), self.part, must)

    def formed(self, made: AV[Tensor], like: AV[Tensor], when: str = "") -> None:
        """Velocities must have the shapes of the latents, and be finite numbers."""
        for s in like:
            found: Any = getattr(made, s, None)
            want = list(like[s].shape)
            there = (
                isinstance(found, Tensor)
                and list(found.shape) == want
                and found.is_floating_point()
            )
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else repr(found)
            require(
                there,
                self.part,
                f"give velocities of the {s} of the latents' shape {want}{when}; it gave {got}",
            )
            require(
                found.is_meta or found.isfinite().all(),
                self.part,
                f"give finite velocities of the {s}{when}",
            )


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """Build as assembly does: with torch's global generator seeded, and left as it was. For use:
    dropout is for training alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = make()
    return made.eval() if isinstance(made, nn.Module) else made


def awake(module: nn.Module) -> nn.Module:
    """Move every weight that can learn by some of its usual size, 1 / sqrt(its inputs): what begins
    at zero hides what is behind it.
    """
    g = generator(1)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.requires_grad:
                size = 0.5 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.1
                weight.add_(size * torch.randn(weight.shape, generator=g, device="cpu").to(weight))
    return module


@contextmanager
def runs(part: object, what: str) -> Iterator[None]:
    """Inside, no error is raised: else `part` must do `what`."""
    try:
        yield
    except Exception as error:
        cause = str(error).partition("\n")[0]
        require(False, part, f"{what}; it raised {type(error).__name__}: {cause}")


def _gap(one: Tensor, two: Tensor | None) -> float:
    """Their largest difference, relative to the largest of `one`."""
    if two is None or one.shape != two.shape:
        return math.inf
    one, two = one.double(), two.double()
    return float(
        (one - two).abs().max() / one.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    )


# --- what both must do ----------------------------------------------------------------------------


@torch.no_grad()
def check_velocities(asked: Asked, answer: AV[Tensor], silent: Collection[str] = ()) -> None:
    """How other questions are answered, where the first one's answer is `answer`. Conditions of
    `silent` needn't be heard.
    """
    _check_seed(asked)
    _check_samples(asked, answer)
    for name in asked.question.conditions:
        _check_mask(asked, answer, name)
        if name not in silent:
            _check_heard(asked, answer, name)
    for stream in asked.question.av:
        _check_times(asked, answer, stream)
    _check_lengths(asked, answer)
    _check_types(asked, answer)
    _check_meta(asked, answer)


@torch.no_grad()
def check_answer(asked: Asked) -> AV[Tensor]:
    """The answer to the question: its form, purity, and that nothing is drawn."""
    before = [x.clone() for x in asked.question.tensors()]
    with own_randomness(asked.part):
        with runs(asked.part, "answer latents, times and conditions with velocities"):
            answer = asked(asked.question)
        asked.formed(answer, asked.question.av)
        again = asked(asked.question)
    untouched = all(
        torch.equal(x, y) for x, y in zip(before, asked.question.tensors(), strict=True)
    )
    require(
        untouched,
        asked.part,
        "leave the latents, times and conditions that it is given as they are: no change in place",
    )
    require(
        all(torch.equal(answer[s], again[s]) for s in answer),
        asked.part,
        "answer the same with the same, to the last bit",
    )
    return answer


def _check_seed(asked: Asked) -> None:
    one, two = seeded(asked.make).state_dict(), seeded(asked.make).state_dict()
    same = one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    require(
        same,
        asked.part,
        "draw its first weights from torch's global generator, which assembly seeds: the same for"
        " the same seed",
    )


def _check_samples(asked: Asked, answer: AV[Tensor]) -> None:
    for row in range(BATCH):
        index = torch.tensor([row])
        alone = asked(asked.question.rows(index))
        asked.same(
            answer.map(lambda v: v[index]),  # noqa: B023
            alone,
            "give each sample of a batch what it gives it alone",
        )


def _check_mask(asked: Asked, answer: AV[Tensor], name: str) -> None:
    """Tokens that don't count; more of them; none that counts; and the null form."""
    condition = asked.question.conditions[name]
    wide = condition.mask.reshape(*condition.mask.shape, *(1,) * (condition.tokens.ndim - 2))
    junk = attrs.evolve(condition, tokens=condition.tokens.where(wide, JUNK))
    hears = f"not hear tokens of {name!r} where its mask is False"
    asked.same(answer, asked(asked.question.told(name, junk)), hears)
    if asked.ports[name] != KNOWN_LATENTS:
        tokens = torch.cat(
            (condition.tokens, torch.full_like(condition.tokens[:, :2], JUNK)), dim=1
        )
        longer = Condition(
            tokens, torch.cat((condition.mask, torch.zeros(BATCH, 2, dtype=torch.bool)), dim=1)
        )
        asked.same(
            answer, asked(asked.question.told(name, longer)), f"{hears}, however many there are"
        )
    nothing = attrs.evolve(condition, mask=torch.zeros_like(condition.mask))
    for form, when in (
        (nothing, f" where no token of {name!r} counts"),
        (condition.dropped(), f" for the null form of {name!r}"),
    ):
        with runs(asked.part, f"answer{when}"):
            made = asked(asked.question.told(name, form))
        asked.formed(made, asked.question.av, when)


def _check_heard(asked: Asked, answer: AV[Tensor], name: str) -> None:
    condition = asked.question.conditions[name]
    tokens = torch.randn(condition.tokens.shape, generator=generator(2))
    changed = asked(asked.question.told(name, attrs.evolve(condition, tokens=tokens)))
    asked.other(
        answer,
        changed,
        f"hear the condition {name!r}, which it takes: another one changes no velocity",
    )


def _check_times(asked: Asked, answer: AV[Tensor], stream: str) -> None:
    """Equal times in any form are the same, with a value that no latent has too (`clean_where` may
    add one); other times aren't, of all latents or of one."""
    plain, latents = asked.question.times[stream], asked.question.av[stream].shape[1]
    now, last = plain.values, (torch.arange(latents) == latents - 1).long().expand(BATCH, -1)

    def at(*values: Tensor, index: Tensor) -> AV[Tensor]:
        with runs(asked.part, "take Times of several values and an index [B, T] into them"):
            return asked(asked.question.at(stream, Times(torch.cat(values, dim=1), index)))

    by_index = (
        "take the time of each latent of the {} as values[index], however many values there are and"
        " in any order"
    )
    asked.same(answer, at(now, now, index=last), by_index.format(stream))
    asked.same(answer, at(0 * now + 1, now, index=1 + 0 * last), by_index.format(stream))
    one = at(now, 0.5 * now, index=last)
    asked.same(one, at(0.5 * now, now, index=1 - last), by_index.format(stream))
    own, other = answer.only((stream,)), at(0.5 * now, index=0 * last)
    asked.other(
        own,
        other.only((stream,)),
        f"hear the time of the {stream}: its velocities are the same at another",
    )
    asked.other(
        own,
        one.only((stream,)),
        f"hear the time of each latent: one latent of the {stream} at a time of its own changes"
        " nothing",
    )


def _check_lengths(asked: Asked, answer: AV[Tensor]) -> None:
    """A clip that is longer, then the first one again."""
    longer = asked.question.av.map(lambda x: torch.cat((x, x[:, :2]), dim=1))
    times = longer.map(lambda x, t: Times.uniform(t.values[:, 0], x.shape[1]), asked.question.times)
    with runs(asked.part, "answer other numbers of latents than before"):
        made = asked(attrs.evolve(asked.question, av=longer, times=times))
        again = asked(asked.question)
    asked.formed(made, longer, " of a longer clip")
    asked.same(answer, again, "answer as before after a longer clip")


def _check_types(asked: Asked, answer: AV[Tensor]) -> None:
    """Weights of two other types, with latents as a sampler has them."""
    for dtype, of in ((torch.float64, torch.float64), (torch.bfloat16, torch.float32)):
        module = awake(seeded(asked.make)).to(dtype)
        given = asked.question.map(lambda x: x.to(of) if x.is_floating_point() else x)  # noqa: B023
        when = f" after .to({dtype}), with latents of {of}"
        with runs(asked.part, f"answer{when}"):
            made: AV[Tensor] = module(given)
        asked.formed(made, given.av, when)
        for s in made:
            require(
                made[s].dtype in (dtype, of),
                asked.part,
                f"give velocities of {dtype} or {of}{when}, not of {made[s].dtype}",
            )
        if dtype == torch.float64:
            asked.same(answer, made, f"compute the same{when}, but for rounding")
        off = {s: float((made[s].double() - answer[s]).norm() / answer[s].norm()) for s in made}
        near = all(share <= COARSE for share in off.values())
        require(
            near,
            asked.part,
            f"compute the same{when}, but for rounding; it is off by {max(off.values()):.2g} of the"
            " norm",
        )


def _check_meta(asked: Asked, answer: AV[Tensor]) -> None:
    """Without numbers: built, asked, and filled with the weights of another, as saved models are
    loaded.
    """
    with runs(
        asked.part, "be built, and answer, on the meta device, where tensors have no numbers"
    ):
        with torch.device("meta"):
            empty, filled = seeded(asked.make), seeded(asked.make)
        made: AV[Tensor] = empty(asked.question.map(lambda x: x.to("meta")))
    asked.formed(made, asked.question.av, " on the meta device")
    kept = [
        name for name, x in (*empty.named_parameters(), *empty.named_buffers()) if not x.is_meta
    ]
    require(
        not kept,
        asked.part,
        f"make all tensors where torch.device says; elsewhere are {', '.join(kept)}",
    )
    state = asked.module.state_dict()
    if not state:
        return
    with runs(
        asked.part,
        "be as before with its saved weights in a new one: make tensors that aren't saved when they"
        " are needed, or as buffers",
    ):
        filled.load_state_dict(state, assign=True)
        if any(x.is_meta for x in (*filled.parameters(), *filled.buffers())):
            return  # buffers that aren't saved: it is built anew
        again: AV[Tensor] = filled(asked.question)
    require(
        all(torch.equal(again[s], answer[s]) for s in answer),
        asked.part,
        "answer the same with the same weights in a new one",
    )


def check_learning(asked: Asked, idle: Collection[str] = (), inside: str = "") -> set[str]:
    """Every weight that can learn gets a gradient, after a call without gradients too, but for
    those whose names fit a pattern of `idle`.

    Names are those without `inside`. Returns the names of those that get none.
    """
    module = awake(seeded(asked.make))  # a new one: what it keeps, it keeps from its first call
    weights = {
        name.removeprefix(inside): weight
        for name, weight in module.named_parameters()
        if weight.requires_grad
    }
    if not weights:
        return set()
    with torch.inference_mode():
        module(asked.question)
    g = generator(3)
    with runs(
        asked.part,
        "learn after a call in torch.inference_mode(): keep no tensor that was made in it",
    ):
        answer: AV[Tensor] = module(asked.question)
        torch.stack(
            [(answer[s] * torch.randn(answer[s].shape, generator=g)).sum() for s in answer]
        ).sum().backward()
    still = {
        name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()
    }
    lost = sorted(name for name in still if not any(fnmatch(name, pattern) for pattern in idle))
    require(
        not lost,
        asked.part,
        "give each weight a gradient, or freeze it (requires_grad_(False)); none reaches"
        f" {', '.join(lost)}",
    )
    return still
