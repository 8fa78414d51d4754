"""The denoiser and what it is made of: two branches, and one joint block per layer.

Hidden states are `[B, T, S, D]`: T latents in time, S tokens per latent (patches of a video latent;
1 for audio), D the branch's width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import attrs
from torch import Tensor, nn

from harmony_parts.av import AV, STREAMS, Conditions, Times
from harmony_parts.branches.protocol import BranchBlock, How
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.interaction.protocol import Interaction

Recompute = Literal["nothing", "all", "all_but_attention"]
"""What the backward pass computes again instead of storing it."""


@attrs.frozen
class Port:
    """Where a condition enters the denoiser, and how.

    `context`: tokens that the stream attends to. `clean_tokens`: latents of the stream itself,
    known and clean: the audio branch puts them before its target, the video branch in place of its
    first latents. `add`: the mean token is added to the stream's time embedding.
    """

    stream: str = attrs.field(validator=attrs.validators.in_(STREAMS))
    how: How = attrs.field(validator=attrs.validators.in_(("context", "clean_tokens", "add")))


KNOWN_LATENTS = Port("video", "clean_tokens")
"""How the latents enter that stand at the beginning of the video: a reference image. No pass of the
sampler goes without them.
"""


class Denoiser(Protocol):
    """A torch module: noisy latents of both streams to velocities of both.

    Samples of a batch don't meet, and nothing is drawn: the same question has the same answer.
    `check_denoiser` of `harmony_parts.testing.contracts` holds a denoiser to all that is said here.
    It may have `external_modules` (`HasExternalModules`): modules that it uses without owning their
    weights, which are neither trained nor saved with it.
    """

    accepts: Mapping[str, Port]  # the conditions that its encoders produce
    # the hints that it understands; "isolate" lets nothing of one stream through to the other
    hints: frozenset[str]

    @property
    def blocks(self) -> Sequence[nn.Module] | nn.ModuleList:
        """Its units of sharding, compiling, recomputing and offloading; empty: it is one unit.

        No weight is in two of them. In an `nn.ModuleList` they are the layers that the denoiser
        runs, in order: with fewer of them in it, it is a shallower model.
        """

    def __call__(
        self,
        av: AV[Tensor],
        times: AV[Times],
        conditions: Conditions,
        *,
        hints: Collection[str] = (),
        read: Collection[str] = STREAMS,
        cache: MutableMapping[str, Any] | None = None,
    ) -> AV[Tensor]:
        """Velocities of the streams in `read`, of the shapes of `av` and in the type of its latents
        or of the weights; nothing is changed in place.

        Where a condition says what a latent is (`clean_tokens` in its place), its velocity is (x_t
        - known) / t, which leads exactly there (0 at time 0): neither loss nor sampler needs to
        know of it. `cache` is an empty mapping that a caller keeps while conditions stay the same
        objects; what it holds of a stream of `av` holds for that tensor alone. Tokens where a
        condition's mask is False aren't heard, however many there are. Raises PartContractError for
        a condition that is missing, a hint that is unknown, and a stream that must be there and is
        absent, naming it.
        """


@runtime_checkable
class Recomputing(Protocol):
    """A denoiser that can recompute its blocks in the backward pass, as its `recompute` says."""

    recompute: Recompute


@runtime_checkable
class StreamLayers(Protocol):
    """A block with a layer per stream and an interaction, whose steps `explain` can count."""

    video: BranchBlock | None
    audio: BranchBlock | None
    interaction: Interaction | None


class DenoiserSpec(Protocol):
    """Settings of a denoiser."""

    def build(
        self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> Denoiser:
        """The denoiser, sized for its neighbours. Raises AssemblyError, naming it, where a
        condition has no port.

        On the meta device (`with torch.device("meta")`) it has shapes and no numbers, and answers
        there. A saved one's weights are loaded into such an empty one, so what isn't saved is a
        buffer, or is made when it is needed.
        """
