"""The dual-branch denoiser: two branches of the same depth in lockstep, each layer with an interaction (paper, figure 2)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, MutableMapping
from difflib import get_close_matches
from typing import Any, Literal, cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, STREAMS, Condition, Conditions, Times
from harmony_parts.blocks.joint import JointBlock
from harmony_parts.blocks.mmdit import MMDiT
from harmony_parts.blocks.protocol import KNOWN, AudioBranchSpec, Branch, Port, Tokens, VideoBranchSpec
from harmony_parts.blocks.video import VideoTransformer
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.interaction.protocol import InteractionSpec, Layout
from harmony_parts.plugin import default_part, knob

PORTS = {
    "caption": Port("video", "context"),
    "image": Port("video", "clean_tokens"),
    "speech": Port("audio", "context"),
    "sound": Port("audio", "context"),
    "voice": Port("audio", "clean_tokens"),
}
"""Where Harmony's own conditions enter: caption and reference image the video, transcript, sound caption and reference audio the audio branch."""


@attrs.frozen
class DualBranch:
    """Settings of the denoiser."""

    layers: int = knob(30, help="Joint blocks; both branches have as many.", source="Wan2.2-TI2V-5B", validator=attrs.validators.ge(1))
    video: VideoBranchSpec = knob(attrs.Factory(VideoTransformer), help="The video branch.")
    audio: AudioBranchSpec = knob(attrs.Factory(MMDiT), help="The audio branch.")
    interaction: InteractionSpec = knob(
        default_part("harmony_parts.interaction.gldi:GLDI"), help="How the branches hear each other, in every layer."
    )
    driven_interaction: Literal["two_way", "one_way"] = knob(
        "two_way",
        help="Whether a clean stream hears the noisy one. `one_way` makes it independent of the step, so it can be computed once.",
        source="paper: two_way",
        validator=attrs.validators.in_(("two_way", "one_way")),
    )
    ports: dict[str, Port] = knob(
        attrs.Factory(dict),
        help="Where further conditions enter; caption, image, speech, sound and voice have their ports already.",
        off={},
    )

    def build(self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]) -> DualBranchDenoiser:
        """The denoiser, with channels from the codecs and widths from the encoders. Raises AssemblyError for a condition without a port."""
        produced: dict[str, int] = {name: width for encoder in encoders.values() for name, width in encoder.produces.items()}
        ports = PORTS | self.ports
        lost = [_lost(name, ports) for name in produced if name not in ports]
        if lost:
            raise AssemblyError(lost)
        if faults := [*_unfit(produced, ports, codecs)]:
            raise AssemblyError(faults)

        def enters(stream: str) -> dict[str, tuple[Any, int]]:
            return {name: (ports[name].how, width) for name, width in produced.items() if ports[name].stream == stream}

        video = cast(VideoCodec, codecs["video"])
        branches: AV[Branch] = AV(
            self.video.build(channels=codecs["video"].channels, grid=video.grid, conditions=enters("video")),
            self.audio.build(channels=codecs["audio"].channels, grid=(), conditions=enters("audio")),
        )
        blocks = [
            JointBlock(branches["video"].block(), branches["audio"].block(), self.interaction.build(branches=branches))
            for _ in range(self.layers)
        ]
        accepts = {name: ports[name] for name in produced}
        return DualBranchDenoiser(branches, blocks, codecs, accepts, one_way=self.driven_interaction == "one_way")


def _unfit(produced: Mapping[str, int], ports: Mapping[str, Port], codecs: AV[VideoCodec | AudioCodec]) -> Iterator[str]:
    """Clean tokens that can't be: two conditions in one place, or ones that aren't latents of their stream."""
    for stream in STREAMS:
        known = [name for name in produced if ports[name] == Port(stream, "clean_tokens")]
        if len(known) > 1:
            yield f"$.denoiser.ports: {' and '.join(known)} would both be the clean tokens of the {stream} stream; keep one"
        for name in known:
            if produced[name] != codecs[stream].channels:
                yield (
                    f"$.denoiser.ports.{name}: clean tokens are latents of the {stream} stream, which have {codecs[stream].channels} "
                    f"channels; this condition has {produced[name]}"
                )


def _lost(name: str, ports: Collection[str]) -> str:
    near = get_close_matches(name, ports, 1)
    hint = f" (did its encoder mean {near[0]!r}?)" if near else ""
    return f"$.denoiser.ports: no port for the condition {name!r}{hint}; add ports.{name} = {{ stream = ..., how = ... }}"


class DualBranchDenoiser(nn.Module):
    """Velocities of both streams; see `Denoiser` for the contract."""

    hints = frozenset({"isolate"})
    """`isolate`: the streams don't hear each other."""

    def __init__(
        self,
        branches: AV[Branch],
        blocks: list[JointBlock],
        codecs: AV[VideoCodec | AudioCodec],
        accepts: Mapping[str, Port],
        one_way: bool,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({s: cast(nn.Module, branches[s]) for s in branches})
        self.blocks = nn.ModuleList(blocks)
        self.codecs, self.accepts, self.one_way = codecs, accepts, one_way
        self._tables: dict[tuple[Any, ...], Any] = {}

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
        """Noisy latents to velocities of the streams in `read`."""
        self._check(conditions, hints)
        noisy, asked = av, times
        known = None if av.video is None else self._known(conditions)
        if known is not None:
            av, times = _paste(av, times, known)
        hears: AV[Tensor] = times.map(lambda t: t.per_latent().amax(1) > 0) if self.one_way else AV()
        told = self._told(av, conditions, cache)
        streams: AV[Tokens] = av.map(lambda x, t, told, s: self._branch(s).embed(x, t, told), times, told, AV(*STREAMS))
        tables = self._tables_for(av)
        for number, block in enumerate(self.blocks, start=1):
            last = number == len(self.blocks)
            streams = block(streams, tables, hears, isolate="isolate" in hints, finish=read if last else STREAMS)
        velocities = streams.map(lambda tokens, x, s: self._branch(s).unembed(tokens, x.shape), av, AV(*STREAMS))
        return velocities if known is None or velocities.video is None else _lead(velocities, noisy, asked, known)

    def _branch(self, stream: str) -> Branch:
        return cast(Branch, self.branches[stream])

    def _check(self, conditions: Conditions, hints: Collection[str]) -> None:
        missing, unknown = sorted(self.accepts.keys() - conditions.keys()), sorted(set(hints) - self.hints)
        if missing:
            raise PartContractError(
                f"the denoiser wants the conditions {', '.join(missing)}; give their null forms where there is nothing to say"
            )
        if unknown:
            raise PartContractError(f"the denoiser knows no hint {', '.join(unknown)}; it knows {', '.join(sorted(self.hints))}")

    def _known(self, conditions: Conditions) -> Condition | None:
        """The latents that stand at the beginning of the video."""
        name = next((n for n, port in self.accepts.items() if port == KNOWN), None)
        return None if name is None else conditions[name]

    def _told(self, av: AV[Tensor], conditions: Conditions, cache: MutableMapping[str, Any] | None) -> AV[Any]:
        """What each branch makes of its conditions, kept in `cache`."""
        cache = {} if cache is None else cache
        for stream in av:
            if stream not in cache:
                own = {n: conditions[n] for n, port in self.accepts.items() if port.stream == stream}
                cache[stream] = self._branch(stream).told(own)
        return AV(**{s: cache[s] for s in av})

    def _tables_for(self, av: AV[Tensor]) -> Any:
        """The interaction's tables, made once per shape and device."""
        if len(tuple(av)) < 2:
            return None
        key = (av["video"].shape[1], av["audio"].shape[1], av["video"].device)
        if key not in self._tables:
            with torch.inference_mode(False):  # they outlive this call, and a later one may train
                clocks = av.map(lambda x, codec: codec.clock(x.shape[1]).to(x.device), self.codecs)
                self._tables[key] = cast(JointBlock, self.blocks[0]).interaction.tables(Layout(clocks))
        return self._tables[key]


def _paste(av: AV[Tensor], times: AV[Times], known: Condition) -> tuple[AV[Tensor], AV[Times]]:
    """Put the known latents in place of the first ones, at time 0, in the samples whose mask says so."""
    video, n = av["video"], known.tokens.shape[1]
    where = torch.zeros(video.shape[:2], dtype=torch.bool, device=video.device)
    where[:, :n] = known.mask
    first = torch.where(known.mask[:, :, None, None, None], known.tokens.to(video.dtype), video[:, :n])
    return av.replace(video=torch.cat((first, video[:, n:]), dim=1)), times.replace(video=times["video"].clean_where(where))


def _lead(velocities: AV[Tensor], noisy: AV[Tensor], times: AV[Times], known: Condition) -> AV[Tensor]:
    """Let the velocity of a known latent lead to it: v = (x_t - known) / t, since x_0 = x_t - t v. A clean stream has nowhere to go: 0."""
    n = known.tokens.shape[1]
    t = times["video"].per_latent()[:, :n, None, None, None]
    towards = torch.where(t > 0, (noisy["video"][:, :n] - known.tokens) / torch.where(t > 0, t, 1), 0)
    first = torch.where(known.mask[:, :, None, None, None], towards.to(velocities["video"].dtype), velocities["video"][:, :n])
    return velocities.replace(video=torch.cat((first, velocities["video"][:, n:]), dim=1))
