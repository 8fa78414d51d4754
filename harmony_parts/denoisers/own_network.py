"""Any network as a denoiser: what it lacks, and a wrapper for the simplest case."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from typing import Any

import attrs
from torch import Tensor, nn

from harmony_parts.av import AV, STREAMS, Conditions, Times
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.known_latents import lead, paste
from harmony_parts.denoisers.ports import accepted
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import PartContractError

Network = Callable[[AV[Tensor], AV[Times], Conditions], AV[Tensor]]
"""f(av, times, conditions) -> velocities of the streams in `av`, in their shapes."""


@attrs.frozen(eq=False)
class OwnNetwork:
    """Your own network as the denoiser of a recipe, for use in Python.

    `network(av, times, conditions)` returns the velocities of all streams; if it is a torch module,
    its weights are the denoiser's. `ports` says by which stream conditions with names of their own
    enter; Harmony's need none. It supports no hints, so guidances that change the network
    (`modality`, `skip-layer`) don't work with it, and it isn't split for sharding or offloading.
    Every denoiser that it builds has the same network; a spec of your own, whose `build` makes a
    new network and returns `OwnNetwork(network).build(...)`, has a fresh one each time.
    """

    network: Network = attrs.field()
    ports: Mapping[str, Port] = attrs.field(factory=dict)

    @network.validator
    def _check(self, _: attrs.Attribute[Network], network: Network) -> None:
        if fault := _call_fault(network, ("av", "times", "conditions")):
            raise PartContractError(f"the network {_name(network)} {fault}")

    def build(
        self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> OwnDenoiser:
        """The denoiser. Raises AssemblyError for a condition without a port."""
        ports = accepted(encoders, self.ports, codecs)
        return OwnDenoiser(self.network, {name: port for name, (port, _) in ports.items()})


class OwnDenoiser(nn.Module):
    """The denoiser of `OwnNetwork`: it keeps known latents (a reference image) and selects streams.

    The network sees known latents in their place, at time 0.
    """

    hints: frozenset[str] = frozenset()
    blocks: Sequence[nn.Module] = ()

    def __init__(self, network: Network, accepts: Mapping[str, Port]) -> None:
        super().__init__()
        self.network, self.accepts = network, dict(accepts)

    def forward(
        self,
        av: AV[Tensor],
        times: AV[Times],
        conditions: Conditions,
        *,
        hints: Collection[str] = (),
        read: Collection[str] = STREAMS,
        cache: MutableMapping[str, Any] | None = None,
    ) -> AV[Tensor]:
        """Velocities of the streams in `read`.

        Raises PartContractError for hints, and for missing conditions.
        """
        if hints:
            raise PartContractError(f"an own network supports no hints, such as {min(hints)}")
        if missing := sorted(self.accepts.keys() - conditions.keys()):
            raise PartContractError(f"missing conditions: {', '.join(missing)}")
        noisy, at, known = av, times, None
        for name, port in self.accepts.items():
            if port == KNOWN_LATENTS and av.video is not None:
                known = conditions[name]
                latents, clean = paste(av.video, times["video"], known)
                av, times = av.replace(video=latents), times.replace(video=clean)
        velocity = self.network(av, times, conditions)
        if not isinstance(velocity, AV):
            raise PartContractError(
                f"the network {_name(self.network)} returned {type(velocity).__name__}; it should"
                " return an AV of velocities: AV(video, audio)"
            )
        velocity = velocity.only(read)
        if known is None or velocity.video is None:
            return velocity
        return velocity.replace(video=lead(velocity.video, noisy["video"], at["video"], known))


HELP = (
    "wrap a function or module f(av, times, conditions) -> AV as"
    " `harmony_parts.OwnNetwork(f)`, or write a spec: see the page 'Bring a model'"
    " (docs/how-to/bring-a-model.md)"
)


def spec_fault(spec: Any) -> str:
    """What a recipe's denoiser lacks to be one, with the remedy; "" if it lacks nothing."""
    if callable(getattr(spec, "build", None)):
        return ""
    return f"{_name(spec)} has no build(*, codecs, encoders), which makes the denoiser; {HELP}"


def denoiser_fault(denoiser: Any) -> str:
    """What a denoiser lacks to be one, with the remedy; "" if it lacks nothing."""
    lacks = [name for name in ("accepts", "hints", "blocks") if not hasattr(denoiser, name)]
    faults = [f"has no {', '.join(lacks)}"] if lacks else []
    if fault := _call_fault(denoiser, ("av", "times", "conditions"), ("hints", "read", "cache")):
        faults.append(fault)
    return f"{_name(denoiser)} is no denoiser: it {' and '.join(faults)}; {HELP}" if faults else ""


def _call_fault(called: Any, arguments: Sequence[str], keywords: Sequence[str] = ()) -> str:
    """Why it can't be called with these arguments; "" if it can, or if nobody can tell."""
    if not callable(called):
        return "can't be called"
    if isinstance(called, type):
        return f"is a class: make it, {called.__name__}(...)"
    try:
        by = getattr(called, "forward", called)
        inspect.signature(by).bind(*arguments, **dict.fromkeys(keywords))
    except TypeError as error:
        call = ", ".join((*arguments, *(("*", *keywords) if keywords else ())))
        return f"can't be called as ({call}): {error}"
    except ValueError:  # a call that can't be inspected
        pass
    return ""


def _name(thing: Any) -> str:
    return str(getattr(thing, "__name__", None) or type(thing).__name__)
