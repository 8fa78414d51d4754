"""A denoiser of one or two branches: embed, run the joint blocks, unembed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping
from functools import partial
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from harmony_parts.av import AV, STREAMS, Condition, Conditions, Times
from harmony_parts.branches.protocol import Branch, Tokens
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec, grid_of
from harmony_parts.denoisers.joint_block import JointBlock, SourceTokens
from harmony_parts.denoisers.known_latents import lead, paste
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port, Recompute
from harmony_parts.errors import PartContractError
from harmony_parts.interaction.protocol import Layout
from harmony_parts.layers.sequence import SharesVideo, VideoShare, check_divides


@attrs.define(eq=False)
class CachedStream:
    """A clean stream that one-way interaction keeps the same at every step.

    `layers`: per joint block, what the other stream reads of it. Empty until the first step has
    computed it.
    """

    stream: str
    latents: Tensor
    layers: list[AV[SourceTokens]] = attrs.field(factory=list)


class BranchDenoiser(nn.Module):
    """Noisy latents to velocities, by one branch per stream; the contract is `Denoiser`'s.

    Hints: with `isolate` the streams exchange nothing; with `skip-N` the joint block N, counted
    from 0, is left out, as in Ovi's negative pass.
    """

    def __init__(
        self,
        branches: AV[Branch],
        blocks: list[JointBlock],
        codecs: AV[VideoCodec | AudioCodec],
        accepts: Mapping[str, Port],
        *,
        one_way: bool,
        recompute: Recompute,
        detach_clean: bool = False,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({s: cast(nn.Module, branches[s]) for s in branches})
        self.blocks = nn.ModuleList(blocks)
        self.codecs, self.accepts = codecs, accepts
        self.one_way, self.recompute, self.detach_clean = one_way, recompute, detach_clean
        self.hints = frozenset({"isolate", *(_skip(n) for n in range(len(blocks)))})
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
        cached = self._cached_stream(av, times, hints, read, cache)
        known = self._known_latents(av, conditions)
        latents, latent_times = _with_known(av, times, known)
        may_receive, frozen = self._may_receive(latent_times), self._frozen(latent_times)
        tables = self._interaction_tables(latents)
        if cached is not None and cached.layers:
            latents = latents.replace(**{cached.stream: None})
        streams = self._embed(latents, latent_times, conditions, cache)
        streams = self._run_blocks(streams, tables, may_receive, frozen, hints, read, cached)
        velocities = self._unembed(streams, latents)
        return _lead_to_known(velocities, av, times, known)

    def share_video(self, share: VideoShare) -> None:
        """Compute only a share of the video's tokens; latents and velocities stay whole.

        Raises ValueError, naming the part, if one can't.
        """
        codec = self.codecs.video
        if codec is None:
            raise ValueError("the model has no video")
        branch = self._branch("video")
        rows, columns = branch.grid((1, 1, *grid_of(codec), codec.channels))
        check_divides(rows * columns, f"tokens of a latent ({rows} x {columns})", share)
        blocks = [cast(JointBlock, block) for block in self.blocks]
        layers = [part for block in blocks for part in (block.video, block.interaction)]
        for part in (branch, *layers):
            if isinstance(part, SharesVideo):
                part.share_video(share)
            elif part is not None:
                raise ValueError(f"the part {type(part).__name__} needs the whole video")
        self._tables.clear()

    # --- the steps of a pass ----------------------------------------------------------------------

    def _embed(
        self,
        latents: AV[Tensor],
        times: AV[Times],
        conditions: Conditions,
        cache: MutableMapping[Any, Any] | None,
    ) -> AV[Tokens]:
        projected = self._project_conditions(latents, conditions, cache)
        return latents.map(
            lambda x, t, c, stream: self._branch(stream).embed(x, t, c),
            times,
            projected,
            AV(*STREAMS),
        )

    def _run_blocks(
        self,
        streams: AV[Tokens],
        tables: Any,
        may_receive: AV[Tensor],
        frozen: Collection[str] | None,
        hints: Collection[str],
        read: Collection[str],
        cached: CachedStream | None,
    ) -> AV[Tokens]:
        """Tokens through all joint blocks; fills `cached.layers` if it is empty, else uses it."""
        reuse = cached.layers if cached is not None else []
        to_cache = (cached.stream,) if cached is not None and not reuse else ()
        blocks = [block for n, block in enumerate(self.blocks) if _skip(n) not in hints]
        computed: list[AV[SourceTokens]] = []
        for n, block in enumerate(blocks):
            streams, sources = self._recomputed(block)(
                streams,
                tables,
                may_receive,
                isolate="isolate" in hints,
                outputs=tuple(read) if block is blocks[-1] else STREAMS,
                cached=reuse[n] if reuse else AV(),
                to_cache=to_cache,
                frozen=frozen,
            )
            computed.append(sources)
        if cached is not None and not reuse:
            cached.layers = computed
        return streams

    def _unembed(self, streams: AV[Tokens], latents: AV[Tensor]) -> AV[Tensor]:
        return streams.map(
            lambda tokens, x, stream: self._branch(stream).unembed(tokens, x.shape),
            latents,
            AV(*STREAMS),
        )

    # --- what the steps need ----------------------------------------------------------------------

    def _branch(self, stream: str) -> Branch:
        return cast(Branch, self.branches[stream])

    def _project_conditions(
        self, av: AV[Tensor], conditions: Conditions, cache: MutableMapping[Any, Any] | None
    ) -> AV[Any]:
        """The conditions of each branch at its width, from `cache` if they are in it."""
        cache = {} if cache is None else cache
        for stream in av:
            if stream not in cache:
                entering = {
                    name: conditions[name]
                    for name, port in self.accepts.items()
                    if port.stream == stream
                }
                cache[stream] = self._branch(stream).project_conditions(entering)
        return AV(**{stream: cache[stream] for stream in av})

    def _known_latents(self, av: AV[Tensor], conditions: Conditions) -> Condition | None:
        """The condition that holds the first latents of the video, if there is one."""
        if av.video is None:
            return None
        name = next((name for name, port in self.accepts.items() if port == KNOWN_LATENTS), None)
        return None if name is None else conditions[name]

    def _may_receive(self, times: AV[Times]) -> AV[Tensor]:
        """bool [B] per stream: not clean in all its latents. Empty in two-way models: all may."""
        return times.map(lambda t: t.per_latent().amax(1) > 0) if self.one_way else AV()

    def _frozen(self, times: AV[Times]) -> tuple[str, ...] | None:
        """The streams that are clean in all samples, if no gradient passes into clean ones."""
        if not self.detach_clean or not torch.is_grad_enabled():
            return None
        return tuple(stream for stream in times if not bool(times[stream].values.any()))

    def _cached_stream(
        self,
        av: AV[Tensor],
        times: AV[Times],
        hints: Collection[str],
        read: Collection[str],
        cache: MutableMapping[Any, Any] | None,
    ) -> CachedStream | None:
        """The entry in `cache` for a clean stream whose velocity isn't read.

        In a one-way model it receives nothing from the other stream, so it is the same at every
        step, and one pass computes what the other stream reads of it.
        """
        if cache is None or not self.one_way or torch.is_grad_enabled() or len(tuple(av)) < 2:
            return None
        clean = next((s for s in av if s not in read and not bool(times[s].values.any())), None)
        if clean is None:
            return None
        key = (clean, frozenset(hints))
        if key not in cache or cache[key].latents is not av[clean]:
            cache[key] = CachedStream(clean, av[clean])
        return cast(CachedStream, cache[key])

    def _interaction_tables(self, av: AV[Tensor]) -> Any:
        """The interaction's tables, made on the CPU and cached per shape and device."""
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

    def _recomputed(self, block: nn.Module) -> Callable[..., tuple[AV[Tokens], AV[SourceTokens]]]:
        """The block, with the activation checkpointing that `recompute` sets."""
        if self.recompute == "nothing" or not torch.is_grad_enabled():
            return block
        if self.recompute == "all":
            return partial(checkpoint, block, use_reentrant=False)
        return partial(
            checkpoint,
            block,
            use_reentrant=False,
            context_fn=partial(create_selective_checkpoint_contexts, _store_attention),
        )

    def _check(self, av: AV[Tensor], conditions: Conditions, hints: Collection[str]) -> None:
        if strange := [stream for stream in av if stream not in self.branches]:
            raise PartContractError(
                f"the denoiser has no {strange[0]} branch; it takes {' and '.join(self.branches)}"
            )
        if missing := sorted(self.accepts.keys() - conditions.keys()):
            raise PartContractError(
                f"the denoiser needs the conditions {', '.join(missing)}; to leave one out, pass"
                " its null form"
            )
        if unknown := sorted(set(hints) - self.hints):
            raise PartContractError(
                f"the denoiser has no hint {', '.join(unknown)}; it has"
                f" {', '.join(sorted(self.hints))}"
            )


def _with_known(
    av: AV[Tensor], times: AV[Times], known: Condition | None
) -> tuple[AV[Tensor], AV[Times]]:
    """Latents and times with the known latents of the video in place."""
    if known is None:
        return av, times
    latents, at = paste(av["video"], times["video"], known)
    return av.replace(video=latents), times.replace(video=at)


def _lead_to_known(
    velocities: AV[Tensor], av: AV[Tensor], times: AV[Times], known: Condition | None
) -> AV[Tensor]:
    """Velocities that lead to the known latents of the video from `av`, the latents before."""
    if known is None or velocities.video is None:
        return velocities
    led = lead(velocities["video"], av["video"], times["video"], known)
    return velocities.replace(video=led)


def _skip(block: int) -> str:
    return f"skip-{block}"


def _store_attention(context: Any, op: Any, *args: Any, **settings: Any) -> CheckpointPolicy:
    """Store the results of attention, torch's and this library's; recompute the rest."""
    attention = op.namespace == "harmony_parts" or "scaled_dot_product" in op.name()
    return CheckpointPolicy.MUST_SAVE if attention else CheckpointPolicy.PREFER_RECOMPUTE
