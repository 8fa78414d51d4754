"""Contract check of denoisers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec, grid_of
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Denoiser, DenoiserSpec, Port
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.testing.contracts.require import generator, require
from harmony_parts.testing.contracts.velocities import (
    BATCH,
    ROUNDING,
    Asked,
    Question,
    awake,
    check_answer,
    check_learning,
    check_velocities,
    runs,
    seeded,
)
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

CODECS: AV[Any] = AV(StubCodec(4, (4, 8), 6.0), StubCodec(3, (), 14.0))
LATENTS = AV(3, 7)
UNHEARD = "never-heard-of"
OTHER = {"video": "audio", "audio": "video"}


def check_denoiser(
    spec: DenoiserSpec,
    *,
    codecs: AV[VideoCodec | AudioCodec] | None = None,
    encoders: Mapping[str, Encoder] | None = None,
    latents: AV[int] = LATENTS,
    idle: Collection[str] = (),
) -> Denoiser:
    """Build the denoiser and hold it to the contract of its kind; returns it, so that a test can go
    on from there.

    Give a spec of a small size. By default it stands between codecs of both streams that say no
    more than channels, grid and clock, and encoders of a caption, a sound and an image: pass others
    where it takes others (`StubCodec`, `StubEncoder` of `harmony_parts.testing.stand_ins`), and as
    many conditions as it can be told. `latents`: how many of each stream it is asked about, at
    least 2. Nothing is decoded.

    Checked, for three samples at times of their own: `accepts`, `hints` and `blocks`; velocities of
    the streams in `read`, of the latents' shapes, whatever else is read; nothing is changed in
    place; `cache` changes no answer; errors for what is missing, unknown or without a port; every
    hint runs; `isolate`, where it is known, lets nothing through; a stream alone is answered or
    refused by name; known latents lead to themselves; times by value and index; conditions are
    heard, where their masks say so, and may be dropped; samples by themselves; the same again
    without a draw from the global generator; other lengths; float64, bfloat16 and meta weights; a
    gradient for every weight that isn't frozen, but for those whose names fit the patterns of
    `idle`, and for none of these. Raises PartContractError.
    """
    spoken: dict[str, Encoder] = (
        dict(encoders) if encoders is not None else {"all": cast(Encoder, _says(codecs or CODECS))}
    )
    built = Built(spec, codecs or CODECS, spoken)
    denoiser = seeded(cast(Any, built.denoiser))
    ports, hints = _check_form(built, denoiser)
    _check_ports(built)
    asked = built.asked(latents, ports)
    answer = check_answer(asked)
    with torch.no_grad():
        _check_refusals(asked)
        _check_read(asked, answer)
        _check_hints(asked, hints)
        _check_cache(asked, hints)
        _check_alone(asked)
        _check_depth(asked, answer)
    check_velocities(asked, answer)
    _check_known(asked, answer)
    _check_idle(asked, idle)
    return cast(Denoiser, denoiser)


def _says(codecs: AV[Any]) -> StubEncoder:
    """A caption, a sound and an image, as far as there are streams for them."""
    widths = {"caption": 5, "image": codecs["video"].channels} if "video" in tuple(codecs) else {}
    return StubEncoder(**widths, **({"sound": 6} if "audio" in tuple(codecs) else {}))


@attrs.frozen(eq=False)
class Built:
    """A denoiser spec and its neighbours."""

    spec: DenoiserSpec
    codecs: AV[Any]
    encoders: dict[str, Encoder]

    def __call__(self) -> Whole:
        """The denoiser, to be asked questions."""
        return Whole(self.denoiser())

    def denoiser(self) -> Denoiser:
        """As it is."""
        return self.spec.build(codecs=self.codecs, encoders=self.encoders)

    def widths(self) -> dict[str, int]:
        """Of the conditions."""
        return {
            name: width
            for encoder in self.encoders.values()
            for name, width in encoder.produces.items()
        }

    def asked(self, latents: AV[int], ports: Mapping[str, Port]) -> Asked:
        """Built, with a question."""
        shapes: AV[tuple[int, ...]] = self.codecs.map(
            lambda codec, n: (n, *grid_of(codec), codec.channels), latents
        )
        return Asked.of(self.spec, self, Question.about(shapes, self.widths(), ports), ports)


class Whole(nn.Module):
    """A denoiser that answers a question."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = cast(Any, denoiser)

    def forward(self, question: Question, **settings: Any) -> AV[Tensor]:
        """Velocities."""
        made: AV[Tensor] = self.denoiser(
            question.av, question.times, question.conditions, **settings
        )
        return made


def _check_form(built: Built, denoiser: Any) -> tuple[Mapping[str, Port], list[str]]:
    """Returns `accepts` and `hints`."""
    require(isinstance(denoiser, nn.Module), built.spec, "build a torch module")
    ports: Any = getattr(denoiser, "accepts", None)
    hints: Any = getattr(denoiser, "hints", None)
    named = isinstance(ports, Mapping) and all(isinstance(port, Port) for port in ports.values())
    require(
        named,
        built.spec,
        f"have `accepts`, a mapping from the name of each condition to its Port, not {ports!r}",
    )
    found, told = sorted(ports), sorted(built.widths())
    require(
        found == told,
        built.spec,
        f"accept the conditions that its encoders produce, {told}, not {found}",
    )
    require(
        isinstance(hints, frozenset),
        built.spec,
        f"have `hints`, a frozenset of the names that it knows, not {hints!r}",
    )
    _check_blocks(built.spec, denoiser)
    return ports, sorted(hints)


def _check_blocks(spec: DenoiserSpec, denoiser: Any) -> None:
    """`blocks` are modules that share no weight with each other."""
    blocks: Any = getattr(denoiser, "blocks", None)
    modules = isinstance(blocks, Sequence | nn.ModuleList) and all(
        isinstance(block, nn.Module) for block in blocks
    )
    require(
        modules,
        spec,
        "have `blocks`, a sequence of the modules that can be sharded, compiled and recomputed one"
        f" by one (empty if there are none), not {blocks!r}",
    )
    weights = [id(weight) for block in blocks for weight in block.parameters()]
    require(
        len(weights) == len(set(weights)),
        spec,
        "share no weight between its `blocks`: each can be on another device",
    )


def _check_depth(asked: Asked, answer: AV[Tensor]) -> None:
    """A denoiser runs exactly the blocks that are in its ModuleList."""
    module = awake(seeded(asked.make))
    denoiser: Any = cast(Whole, module).denoiser
    if not isinstance(denoiser.blocks, nn.ModuleList) or len(denoiser.blocks) < 2:
        return
    with runs(asked.part, "run with fewer blocks in its ModuleList `blocks`"):
        denoiser.blocks = denoiser.blocks[:1]
        made: AV[Tensor] = module(asked.question)
    when = " with one block"
    asked.formed(made, asked.question.av, when)
    asked.other(
        answer, made, f"run the blocks of its ModuleList `blocks`: the same{when} as with all"
    )


def _check_ports(built: Built) -> None:
    lost = attrs.evolve(
        built, encoders=built.encoders | {UNHEARD: cast(Encoder, StubEncoder(**{UNHEARD: 3}))}
    )
    error = _raised(AssemblyError, lambda: seeded(cast(Any, lost.denoiser)))
    require(
        UNHEARD in error,
        built.spec,
        "raise AssemblyError, naming the condition, where it is built with one that has no port",
    )


def _check_refusals(asked: Asked) -> None:
    for name in asked.ports:
        fewer = {n: c for n, c in asked.question.conditions.items() if n != name}
        error = _raised(
            PartContractError,
            lambda: asked(attrs.evolve(asked.question, conditions=fewer)),  # noqa: B023
        )
        require(
            name in error,
            asked.part,
            f"raise PartContractError, naming {name!r}, where that condition is missing",
        )
    error = _raised(PartContractError, lambda: asked(asked.question, hints={UNHEARD}))
    require(
        UNHEARD in error,
        asked.part,
        "raise PartContractError, naming the hint, where it doesn't know one",
    )


def _raised(kind: type[Exception], call: Callable[[], object]) -> str:
    """What an error of that kind says; "" where there is none, or another."""
    try:
        call()
    except kind as error:
        return str(error)
    except Exception:
        return ""
    return ""


def _check_read(asked: Asked, both: AV[Tensor]) -> None:
    """Reading one stream is reading both."""
    for s in both:
        one = asked(asked.question, read=(s,))
        asked.formed(one, asked.question.av.only((s,)), f" where read=({s!r},)")
        asked.same(
            both.only((s,)),
            one,
            f"give the {s} the same velocities whether or not the other stream is read",
        )


def _check_hints(asked: Asked, hints: Collection[str]) -> None:
    for hint in hints:
        with runs(asked.part, f"run with the hint {hint!r}, which it says that it knows"):
            made = asked(asked.question, hints={hint})
        asked.formed(made, asked.question.av, f" with the hint {hint!r}")
    if "isolate" not in hints:
        return
    apart = asked(asked.question, hints={"isolate"})
    for s in apart:
        moved = asked(_moved(asked, OTHER[s]), hints={"isolate"})
        asked.same(
            apart.only((s,)),
            moved,
            f"let nothing of the {OTHER[s]}, of its times and its conditions through to the {s}"
            " where `isolate` is asked for",
        )


def _moved(asked: Asked, stream: str) -> Question:
    """All that is given to one stream exchanged: latents, times, conditions."""
    if stream not in tuple(asked.question.av):
        return asked.question
    g = generator(5)
    now, latents = asked.question.times[stream], asked.question.av[stream]
    moved = asked.question.at(stream, attrs.evolve(now, values=0.5 * now.values))
    moved = attrs.evolve(
        moved, av=moved.av.replace(**{stream: torch.randn(latents.shape, generator=g)})
    )
    for name, condition in asked.question.conditions.items():
        if asked.ports[name].stream == stream:
            moved = moved.told(
                name,
                Condition(
                    torch.randn(condition.tokens.shape, generator=g), condition.mask, condition.null
                ),
            )
    return moved


def _check_cache(asked: Asked, hints: Collection[str]) -> None:
    """Over steps; with a clean stream that only the other one reads, then another such; with hints
    between.
    """
    cache: dict[str, Any] = {}
    kept = (
        "answer the same with a cache that was kept while conditions stay the same objects as"
        " without one"
    )
    first = asked.question
    later = first
    for s in first.av:
        later = later.at(s, attrs.evolve(first.times[s], values=0.5 * first.times[s].values))
    for step in (first, later, first):
        asked.same(asked(step), asked(step, cache=cache), kept)
    for hint in hints:
        asked.same(
            asked(later, hints={hint}),
            asked(later, hints={hint}, cache=cache),
            f"{kept}, with the hint {hint!r} too",
        )
    for s in first.av if len(tuple(first.av)) == 2 else ():
        clean = later.at(s, attrs.evolve(later.times[s], values=0 * later.times[s].values))
        another = attrs.evolve(clean, av=clean.av.replace(**{s: clean.av[s] + 1}))
        noisier = clean.at(OTHER[s], first.times[OTHER[s]])
        for step in (clean, noisier, another, clean):
            asked.same(
                asked(step, read=(OTHER[s],)),
                asked(step, read=(OTHER[s],), cache=cache),
                f"{kept}, where the {s} is clean too",
            )


def _check_alone(asked: Asked) -> None:
    """A stream without the other."""
    for s in asked.question.av if len(tuple(asked.question.av)) == 2 else ():
        alone = attrs.evolve(
            asked.question, av=asked.question.av.only((s,)), times=asked.question.times.only((s,))
        )
        try:
            made = asked(alone)
        except PartContractError as error:
            require(
                OTHER[s] in str(error),
                asked.part,
                f"name the {OTHER[s]} in its PartContractError where that stream is absent",
            )
        except Exception as error:
            what = (
                f"answer the {s} alone, or raise PartContractError that names the absent"
                f" {OTHER[s]}, not {type(error).__name__}"
            )
            require(False, asked.part, what)
        else:
            asked.formed(made, alone.av, f" where the {OTHER[s]} is absent")


@torch.no_grad()
def _check_known(asked: Asked, answer: AV[Tensor]) -> None:
    """x_t - t v is the known latent, where its mask is True; what stood in its place isn't seen."""
    for name in (name for name, port in asked.ports.items() if port == KNOWN_LATENTS):
        known, x = asked.question.conditions[name], asked.question.av["video"]
        n = known.tokens.shape[1]
        where = torch.zeros(x.shape[:2], dtype=torch.bool)
        where[:, :n] = known.mask
        t = asked.question.times["video"].per_latent()[:, :n, None, None, None]
        towards, found = (
            ((x[:, :n] - known.tokens) / t)[known.mask],
            answer["video"][:, :n][known.mask],
        )
        near = bool((found - towards).abs().max() <= ROUNDING * towards.abs().max())
        require(
            near,
            asked.part,
            f"answer with (x_t - known) / t where the condition {name!r} says what a latent is",
        )
        covered = torch.where(
            where[:, :, None, None, None], torch.randn(x.shape, generator=generator(6)), x
        )
        unseen = asked(attrs.evolve(asked.question, av=asked.question.av.replace(video=covered)))
        rest = unseen.replace(
            video=torch.where(where[:, :, None, None, None], answer["video"], unseen["video"])
        )
        asked.same(answer, rest, f"not see what stands in the place of a known latent of {name!r}")
        zero = attrs.evolve(asked.question.times["video"], values=torch.zeros(BATCH, 1))
        still = asked(asked.question.at("video", zero))["video"][:, :n][known.mask]
        require(
            bool((still == 0).all()),
            asked.part,
            f"answer with 0 for a latent known from {name!r} at time 0: it is there already",
        )


def _check_idle(asked: Asked, idle: Collection[str]) -> None:
    """Gradients, and that those who are said to have none have none."""
    still = check_learning(asked, idle, inside="denoiser.")
    for pattern in idle:
        none = any(fnmatch(name, pattern) for name in still)
        require(
            none,
            asked.part,
            f"not be said to have idle weights {pattern!r}: all of these learn, or there are none;"
            " leave it out of `idle`",
        )
