"""The denoiser that is made of branches: one or two of them, one layer of each per joint block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping
from functools import partial
from typing import Any, cast, get_args

import attrs
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from harmony_parts.av import AV, STREAMS, Condition, Conditions, Times
from harmony_parts.branches.protocol import Branch, BranchSpec, Tokens
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec, grid_of
from harmony_parts.denoisers.joint_block import JointBlock
from harmony_parts.denoisers.known_latents import lead, paste
from harmony_parts.denoisers.ports import accepted, entering
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port, Recompute
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import PartContractError
from harmony_parts.interaction.protocol import InteractionSpec, Layout
from harmony_parts.plugin import knob


def layers_knob() -> Any:
    """The setting of every denoiser of branches."""
    return knob(
        30,
        help="Joint blocks; each branch has as many layers.",
        source="Wan2.2-TI2V-5B",
        validator=attrs.validators.ge(1),
    )


def ports_knob() -> Any:
    """The same."""
    return knob(
        attrs.Factory(dict),
        help=(
            "Where further conditions enter; caption, image, speech, sound and voice have their"
            " ports already."
        ),
        off={},
    )


def recompute_knob() -> Any:
    """The same."""
    return knob(
        "nothing",
        help=(
            "What of a layer the backward pass computes again instead of keeping it: less memory"
            " for more time. `all_but_attention` keeps what attention gave, the dearest part."
        ),
        off="nothing",
        validator=attrs.validators.in_(get_args(Recompute)),
    )


def compile_knob() -> Any:
    """The same."""
    return knob(
        False,
        help=(
            "Whether torch.compile makes one kernel of many in each joint block; the first call"
            " takes minutes."
        ),
        off=False,
    )


def build_denoiser(
    branches: AV[BranchSpec],
    layers: int,
    interaction: InteractionSpec | None,
    *,
    codecs: AV[VideoCodec | AudioCodec],
    encoders: Mapping[str, Encoder],
    ports: Mapping[str, Port],
    one_way: bool = False,
    recompute: Recompute = "nothing",
    compile: bool = False,
) -> BranchDenoiser:
    """A denoiser of those branches, sized for its neighbours. Raises AssemblyError for a condition
    that can't enter.
    """
    conditions = accepted(encoders, ports, codecs)
    grids: AV[tuple[int, ...]] = codecs.map(grid_of)
    built: AV[Branch] = branches.map(
        lambda spec, codec, grid, s: spec.build(
            channels=codec.channels, grid=grid, conditions=entering(conditions, s)
        ),
        codecs,
        grids,
        AV(*STREAMS),
    )
    blocks = [
        JointBlock(
            built.map(lambda branch: branch.block()),
            None if interaction is None else interaction.build(branches=built),
        )
        for _ in range(layers)
    ]
    if compile:
        for block in blocks:
            block.compile()
    accepts = {name: port for name, (port, _) in conditions.items()}
    return BranchDenoiser(built, blocks, codecs, accepts, one_way=one_way, recompute=recompute)


@attrs.define(eq=False)
class Kept:
    """A clean stream of one-way interaction: its latents, and what the other stream hears of it in
    each layer, once that is known.
    """

    stream: str
    latents: Tensor
    layers: list[AV[Tokens]] = attrs.field(factory=list)


class BranchDenoiser(nn.Module):
    """Velocities of both streams; see `Denoiser` for the contract."""

    def __init__(
        self,
        branches: AV[Branch],
        blocks: list[JointBlock],
        codecs: AV[VideoCodec | AudioCodec],
        accepts: Mapping[str, Port],
        *,
        one_way: bool,
        recompute: Recompute,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({s: cast(nn.Module, branches[s]) for s in branches})
        self.blocks = nn.ModuleList(blocks)
        self.codecs, self.accepts, self.one_way, self.recompute = (
            codecs,
            accepts,
            one_way,
            recompute,
        )
        self.hints = frozenset({"isolate", *(_skip(n) for n in range(len(blocks)))})
        """`isolate`: the streams don't hear each other. `skip-N`: the joint block N, from 0, is
        left out, as in Ovi's negative pass.
        """
        self._tables: dict[tuple[Any, ...], Any] = {}

    def forward(
        self,
        av: AV[Tensor],
        times: AV[Times],
        conditions: Conditions,
        *,
        hints: Collection[str] = (),
        read: Collection[str] = STREAMS,
        cache: MutableMapping[Any, Any] | None = None,
    ) -> AV[Tensor]:
        """Noisy latents to velocities of the streams in `read`."""
        self._check(av, conditions, hints)
        noisy, asked, kept = av, times, self._kept(av, times, hints, read, cache)
        known = None if av.video is None else self._known(conditions)
        if known is not None:
            latents, at = paste(av["video"], times["video"], known)
            av, times = av.replace(video=latents), times.replace(video=at)
        hears: AV[Tensor] = (
            times.map(lambda t: t.per_latent().amax(1) > 0) if self.one_way else AV()
        )
        tables = self._tables_for(av)
        if kept is not None and kept.layers:
            av = av.replace(**{kept.stream: None})
        told = self._told(av, conditions, cache)
        streams: AV[Tokens] = av.map(
            lambda x, t, told, s: self._branch(s).embed(x, t, told), times, told, AV(*STREAMS)
        )
        streams = self._through(streams, tables, hears, hints, read, kept)
        velocities = streams.map(
            lambda tokens, x, s: self._branch(s).unembed(tokens, x.shape), av, AV(*STREAMS)
        )
        if known is None or velocities.video is None:
            return velocities
        return velocities.replace(
            video=lead(velocities["video"], noisy["video"], asked["video"], known)
        )

    def _through(
        self,
        streams: AV[Tokens],
        tables: Any,
        hears: AV[Tensor],
        hints: Collection[str],
        read: Collection[str],
        kept: Kept | None,
    ) -> AV[Tokens]:
        """Tokens through all layers. What they hear of a clean stream that isn't among them is in
        `kept`; of one that is, it is put there.
        """
        before = [] if kept is None else kept.layers
        keep = () if kept is None or before else (kept.stream,)
        blocks = [block for n, block in enumerate(self.blocks) if _skip(n) not in hints]
        heard: list[AV[Tokens]] = []
        for n, block in enumerate(blocks):
            finish = tuple(read) if block is blocks[-1] else STREAMS
            still = before[n] if before else AV()
            streams, own = self._layer(block)(
                streams, tables, hears, "isolate" in hints, finish, still, keep
            )
            heard.append(own)
        if kept is not None and not before:
            kept.layers = heard
        return streams

    def _branch(self, stream: str) -> Branch:
        return cast(Branch, self.branches[stream])

    def _kept(
        self,
        av: AV[Tensor],
        times: AV[Times],
        hints: Collection[str],
        read: Collection[str],
        cache: MutableMapping[Any, Any] | None,
    ) -> Kept | None:
        """The place in `cache` of a clean stream that only the other one reads, where it can't
        hear: it is the same at every step.
        """
        if cache is None or not self.one_way or torch.is_grad_enabled() or len(tuple(av)) < 2:
            return None
        clean = next((s for s in av if s not in read and not bool(times[s].values.any())), None)
        if clean is None:
            return None
        place = (clean, frozenset(hints))
        if place not in cache or cache[place].latents is not av[clean]:
            cache[place] = Kept(clean, av[clean])
        return cast(Kept, cache[place])

    def _layer(self, block: nn.Module) -> Callable[..., tuple[AV[Tokens], AV[Tokens]]]:
        """A joint block as it is, or so that the backward pass computes it again."""
        if self.recompute == "nothing" or not torch.is_grad_enabled():
            return block
        if self.recompute == "all":
            return partial(checkpoint, block, use_reentrant=False)
        return partial(
            checkpoint,
            block,
            use_reentrant=False,
            context_fn=partial(create_selective_checkpoint_contexts, _keep_attention),
        )

    def _check(self, av: AV[Tensor], conditions: Conditions, hints: Collection[str]) -> None:
        if strange := [stream for stream in av if stream not in self.branches]:
            raise PartContractError(
                f"the denoiser has no {strange[0]} branch; it takes {' and '.join(self.branches)}"
            )
        missing, unknown = (
            sorted(self.accepts.keys() - conditions.keys()),
            sorted(set(hints) - self.hints),
        )
        if missing:
            raise PartContractError(
                f"the denoiser wants the conditions {', '.join(missing)}; give their null forms"
                " where there is nothing to say"
            )
        if unknown:
            raise PartContractError(
                f"the denoiser knows no hint {', '.join(unknown)}; it knows"
                f" {', '.join(sorted(self.hints))}"
            )

    def _known(self, conditions: Conditions) -> Condition | None:
        """The latents that stand at the beginning of the video."""
        name = next((n for n, port in self.accepts.items() if port == KNOWN_LATENTS), None)
        return None if name is None else conditions[name]

    def _told(
        self, av: AV[Tensor], conditions: Conditions, cache: MutableMapping[Any, Any] | None
    ) -> AV[Any]:
        """What each branch makes of its conditions, kept in `cache`."""
        cache = {} if cache is None else cache
        for stream in av:
            if stream not in cache:
                own = {
                    n: conditions[n] for n, port in self.accepts.items() if port.stream == stream
                }
                cache[stream] = self._branch(stream).project_conditions(own)
        return AV(**{s: cache[s] for s in av})

    def _tables_for(self, av: AV[Tensor]) -> Any:
        """The interaction's tables, made once per shape and device, on the CPU."""
        interaction = cast(JointBlock, self.blocks[0]).interaction
        if len(tuple(av)) < 2 or interaction is None:
            return None
        key = (av["video"].shape[1:4], av["audio"].shape[1], av["video"].device)
        if key not in self._tables:
            with torch.inference_mode(False):  # they outlive this call, and a later one may train
                clocks = av.map(lambda x, codec: codec.clock(x.shape[1]).cpu(), self.codecs)
                grid = av.map(lambda x, s: self._branch(s).grid(x.shape), AV(*STREAMS))
                self._tables[key] = interaction.tables(Layout(clocks, grid, av["video"].device))
        return self._tables[key]


def _skip(block: int) -> str:
    return f"skip-{block}"


def _keep_attention(context: Any, op: Any, *args: Any, **settings: Any) -> CheckpointPolicy:
    """What a recomputed layer keeps: the results of attention, torch's own and the library's."""
    attention = op.namespace == "harmony_parts" or "scaled_dot_product" in op.name()
    return CheckpointPolicy.MUST_SAVE if attention else CheckpointPolicy.PREFER_RECOMPUTE
