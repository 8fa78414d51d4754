"""What a denoiser is: the network from noisy latents to velocities."""

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
from harmony_parts.plugin import knob

Recompute = Literal["nothing", "all", "all_but_attention"]
"""What the backward pass recomputes instead of storing (activation checkpointing)."""


@attrs.frozen
class Port:
    """By which stream a condition enters the denoiser, and how.

    `context`: tokens that the stream attends to. `clean_tokens`: latents of the stream itself,
    known and clean: the audio branch puts them before its target, the video branch in place of its
    first latents. `add`: the mean token is added to the stream's time embedding.
    """

    stream: str = knob(
        help="the stream that reads the condition", validator=attrs.validators.in_(STREAMS)
    )
    how: How = knob(
        help="how it enters",
        validator=attrs.validators.in_(("context", "clean_tokens", "add")),
    )


KNOWN_LATENTS = Port("video", "clean_tokens")
"""The port of known latents at the beginning of the video: a reference image.

No guidance drops them.
"""
REFERENCE_AUDIO = Port("audio", "clean_tokens")
"""The port of a reference audio, before the target."""


class Denoiser(Protocol):
    """A torch module: noisy latents of both streams to velocities of both.

    Samples of a batch are independent, and no random numbers are drawn: the same inputs give the
    same velocities. `check_denoiser` of `harmony_parts.testing.contracts` checks all of this. It
    may have `external_modules` (`harmony_parts.models.offload.HasExternalModules`): modules that it
    uses without owning their weights, which are neither trained nor saved with it.
    """

    accepts: Mapping[str, Port]  # the conditions that its encoders produce
    hints: frozenset[str]  # supported hints; "isolate" lets no information pass between streams

    @property
    def blocks(self) -> Sequence[nn.Module] | nn.ModuleList:
        """Its units of sharding, compiling, recomputing and offloading; if empty, it is one unit.

        No two blocks share a weight. If they are an `nn.ModuleList`, the denoiser runs exactly the
        blocks in it, in order: with fewer of them it is a shallower model.
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
        """Velocities of the streams in `read`, of the shapes of `av`.

        Their type is that of the latents or of the weights. No argument is changed in place, but
        for `cache`: a mapping, empty at first, that a caller passes again as long as conditions are
        the same objects. What it stores about a stream of `av` is valid only for that same tensor.

        The velocity of a known latent (a condition by `clean_tokens` in its place) is (x_t - known)
        / t, and 0 at time 0, which leads exactly to it: neither loss nor sampler treats it
        specially. Tokens where a condition's mask is False have no effect, however many there are.

        Raises PartContractError, with the name, for a missing condition, an unknown hint, and a
        stream that is required and absent.
        """


@runtime_checkable
class Recomputing(Protocol):
    """A denoiser that can recompute its blocks in the backward pass, as set by its `recompute`."""

    recompute: Recompute


@runtime_checkable
class DetachesClean(Protocol):
    """A denoiser that may compute a stream without gradients if all samples of it are clean.

    With `detach_clean` it does, so batches of one task each cost less than one with all of them.
    """

    detach_clean: bool


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
        """The denoiser, with sizes from its codecs and encoders.

        Raises AssemblyError, naming the condition, if one has no port. It must also be buildable,
        and run, on the meta device (`with torch.device("meta")`). Saved weights are loaded into
        such an empty denoiser, so any tensor that isn't saved is a buffer or is made when needed.
        """
