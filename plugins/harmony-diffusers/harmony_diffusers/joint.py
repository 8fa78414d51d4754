"""What a published transformer of both streams needs: its codecs, its conditions, its calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Conditions
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.protocol import Port
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import AssemblyError, PartContractError


@attrs.frozen
class Joint:
    """The transformer `name`, which needs both streams and has the conditions of `ports`.

    `texts` are the conditions that it can't be without, and what each is; the encoder `encoder`
    produces them.
    """

    name: str
    ports: Mapping[str, Port]
    texts: Mapping[str, str]
    encoder: str

    def accepts(
        self,
        channels: AV[int],
        widths: Mapping[str, int],
        codecs: AV[VideoCodec | AudioCodec],
        encoders: Mapping[str, Encoder],
        further: Sequence[str] = (),
    ) -> dict[str, Port]:
        """The port of each condition that is produced, of `channels` and `widths` of the weights.

        Raises AssemblyError with all mismatches, those of the caller (`further`) last.
        """
        produced = {
            name: width for encoder in encoders.values() for name, width in encoder.produces.items()
        }
        faults = [
            f"{self.name} needs {s} latents of {channels[s]} channels; the codec's have"
            f" {codecs[s].channels}"
            if s in tuple(codecs)
            else f"{self.name} needs both streams, but there is no codec for the {s}"
            for s in STREAMS
            if s not in tuple(codecs) or codecs[s].channels != channels[s]
        ]
        faults += [
            f"no encoder produces {name!r}, {what}; {self.encoder} does"
            for name, what in self.texts.items()
            if name not in produced
        ]
        faults += [
            f"{self.name} has no condition {name!r}; it accepts {', '.join(self.ports)}"
            for name in produced
            if name not in self.ports
        ]
        faults += [
            f"the condition {name!r} has width {width}, but {self.name} needs {widths[name]}"
            for name, width in produced.items()
            if name in widths and width != widths[name]
        ]
        if faults := [*faults, *further]:
            raise AssemblyError([f"$.denoiser: {fault}" for fault in faults])
        return {name: self.ports[name] for name in produced}

    def check(
        self,
        av: AV[Tensor],
        conditions: Conditions,
        hints: Collection[str],
        *,
        accepts: Collection[str],
        supports: Collection[str],
    ) -> None:
        """Raise PartContractError for an absent stream, a condition of `accepts` that is missing,
        or a hint that isn't in `supports`.
        """
        if absent := [stream for stream in STREAMS if stream not in tuple(av)]:
            raise PartContractError(
                f"the {absent[0]} is absent, but {self.name} needs both streams; give it (at time"
                " 0), or generate it and ignore it"
            )
        if missing := sorted(set(accepts) - conditions.keys()):
            raise PartContractError(
                f"{self.name} needs the conditions {', '.join(missing)}; without a text give their"
                " null forms"
            )
        if unknown := sorted(set(hints) - set(supports)):
            raise PartContractError(
                f"{self.name} has no hint {', '.join(unknown)}; it supports"
                f" {', '.join(sorted(supports)) or 'none'}"
            )
