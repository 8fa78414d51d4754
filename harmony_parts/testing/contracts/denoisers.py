"""Contract check of denoisers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec, grid_of
from harmony_parts.denoisers.protocol import Denoiser, DenoiserSpec, Port
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.testing.contracts.denoiser_calls import (
    check_cache,
    check_depth,
    check_hints,
    check_known_latents,
    check_one_stream,
    check_read,
)
from harmony_parts.testing.contracts.require import check_made, require
from harmony_parts.testing.contracts.tested import Inputs, Tested, seeded
from harmony_parts.testing.contracts.velocities import (
    check_gradients,
    check_purity,
    check_velocities,
)
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

CODECS: AV[Any] = AV(StubCodec(4, (4, 8), 6.0), StubCodec(3, (), 14.0))
LATENTS = AV(3, 7)
UNKNOWN = "never-heard-of"  # a name of a condition or hint that no denoiser knows


def check_denoiser(
    spec: DenoiserSpec,
    *,
    codecs: AV[VideoCodec | AudioCodec] | None = None,
    encoders: Mapping[str, Encoder] | None = None,
    latents: AV[int] = LATENTS,
    idle: Collection[str] = (),
    one_time: bool = False,
) -> Denoiser:
    """Build a denoiser, check its contract, and return it for further tests.

    Give a spec of a small size. By default it is built with stub codecs of both streams and stub
    encoders of a caption, a sound and an image (`StubCodec` and `StubEncoder` of
    `harmony_parts.testing.stand_ins`): pass others if it needs others, and encoders for as many of
    its conditions as possible. `latents`: how many per stream, at least 2. `idle`: patterns of the
    names of weights that get no gradient from these inputs. `one_time`: all latents of a stream
    have one time, so another time of one of them may change nothing. Nothing is decoded.

    Checked, for three samples, each at its own times: `accepts`, `hints` and `blocks`; shapes of
    the velocities, which don't depend on what else is in `read`; no change in place; `cache`
    changes no velocity; errors for missing, unknown and portless conditions and unknown hints;
    every hint runs, and `isolate` lets nothing pass between streams; one stream without the other
    runs or is refused by name; velocities of known latents lead to them; times are values[index];
    conditions have an effect, masked tokens none, and null forms run; samples are independent;
    repeatability without global randomness; other lengths; weights in float64, bfloat16 and on the
    meta device; a gradient for every weight that is neither frozen nor `idle`, and for none that is
    `idle`. Raises PartContractError.
    """
    check_made(spec)
    case = DenoiserCase(
        spec,
        codecs or CODECS,
        dict(encoders) if encoders is not None else _default_encoders(codecs or CODECS),
    )
    denoiser = seeded(cast(Any, case.denoiser))
    ports, hints = _check_form(case, denoiser)
    _check_ports(case)
    tested = case.tested(latents, ports)
    velocities = check_purity(tested)
    with torch.no_grad():
        _check_refusals(tested)
        check_read(tested, velocities)
        check_hints(tested, hints)
        check_cache(tested, hints)
        check_one_stream(tested)
        check_depth(tested, velocities)
    check_velocities(tested, velocities, one_time=one_time)
    check_known_latents(tested, velocities)
    _check_idle(tested, idle)
    return cast(Denoiser, denoiser)


def _default_encoders(codecs: AV[Any]) -> dict[str, Encoder]:
    """A caption, a sound and an image, as far as the model has their streams."""
    widths = {"caption": 5, "image": codecs["video"].channels} if "video" in tuple(codecs) else {}
    if "audio" in tuple(codecs):
        widths |= {"sound": 6}
    return {"all": cast(Encoder, StubEncoder(**widths))}


@attrs.frozen(eq=False)
class DenoiserCase:
    """A denoiser spec and the codecs and encoders that it is built with."""

    spec: DenoiserSpec
    codecs: AV[Any]
    encoders: dict[str, Encoder]

    def __call__(self) -> CalledWithInputs:
        """The denoiser, as a module from inputs to velocities."""
        return CalledWithInputs(self.denoiser())

    def denoiser(self) -> Denoiser:
        """The unmodified denoiser."""
        return self.spec.build(codecs=self.codecs, encoders=self.encoders)

    def widths(self) -> dict[str, int]:
        """Condition -> width of its tokens."""
        return {
            name: width
            for encoder in self.encoders.values()
            for name, width in encoder.produces.items()
        }

    def tested(self, latents: AV[int], ports: Mapping[str, Port]) -> Tested:
        """The denoiser, built, with example inputs."""
        shapes: AV[tuple[int, ...]] = self.codecs.map(
            lambda codec, n: (n, *grid_of(codec), codec.channels), latents
        )
        return Tested.of(self.spec, self, Inputs.random(shapes, self.widths(), ports), ports)


class CalledWithInputs(nn.Module):
    """A denoiser that is called with `Inputs`."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = cast(Any, denoiser)

    def forward(self, inputs: Inputs, **settings: Any) -> AV[Tensor]:
        """The denoiser's velocities."""
        velocities: AV[Tensor] = self.denoiser(
            inputs.av, inputs.times, inputs.conditions, **settings
        )
        return velocities


def _check_form(case: DenoiserCase, denoiser: Any) -> tuple[Mapping[str, Port], list[str]]:
    """Check the attributes of the protocol; returns `accepts` and `hints`."""
    require(isinstance(denoiser, nn.Module), case.spec, "build a torch module")
    ports: Any = getattr(denoiser, "accepts", None)
    hints: Any = getattr(denoiser, "hints", None)
    named = isinstance(ports, Mapping) and all(isinstance(port, Port) for port in ports.values())
    require(
        named,
        case.spec,
        f"have `accepts`, a mapping from the name of each condition to its Port, not {ports!r}",
    )
    found, produced = sorted(ports), sorted(case.widths())
    require(
        found == produced,
        case.spec,
        f"accept the conditions that its encoders produce, {produced}, not {found}",
    )
    require(
        isinstance(hints, frozenset),
        case.spec,
        f"have `hints`, a frozenset of the names of the hints that it supports, not {hints!r}",
    )
    _check_blocks(case.spec, denoiser)
    return ports, sorted(hints)


def _check_blocks(spec: DenoiserSpec, denoiser: Any) -> None:
    """`blocks` are modules that share no weight."""
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


def _check_ports(case: DenoiserCase) -> None:
    unknown = {UNKNOWN: cast(Encoder, StubEncoder(**{UNKNOWN: 3}))}
    with_unknown = attrs.evolve(case, encoders=case.encoders | unknown)
    message = _message(AssemblyError, lambda: seeded(cast(Any, with_unknown.denoiser)))
    require(
        UNKNOWN in message,
        case.spec,
        "raise AssemblyError, naming the condition, if it is built with one that has no port",
    )


def _check_refusals(tested: Tested) -> None:
    for name in tested.ports:
        fewer = {n: c for n, c in tested.inputs.conditions.items() if n != name}
        message = _message(
            PartContractError,
            lambda: tested(attrs.evolve(tested.inputs, conditions=fewer)),  # noqa: B023
        )
        require(
            name in message,
            tested.part,
            f"raise PartContractError, naming {name!r}, if that condition is missing",
        )
    message = _message(PartContractError, lambda: tested(tested.inputs, hints={UNKNOWN}))
    require(
        UNKNOWN in message,
        tested.part,
        "raise PartContractError, naming the hint, for a hint that it doesn't support",
    )


def _message(kind: type[Exception], call: Callable[[], object]) -> str:
    """The message of the error of this kind that `call` raises; "" for no error or another."""
    try:
        call()
    except kind as error:
        return str(error)
    except Exception:
        return ""
    return ""


def _check_idle(tested: Tested, idle: Collection[str]) -> None:
    """Gradients for all weights but those of `idle`, and none for these."""
    without = check_gradients(tested, idle, prefix="denoiser.")
    for pattern in idle:
        require(
            any(fnmatch(name, pattern) for name in without),
            tested.part,
            f"have weights without a gradient that fit the `idle` pattern {pattern!r}: all that fit"
            " it get one, or none fits; remove it from `idle`",
        )
