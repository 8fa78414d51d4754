"""The denoiser and what it is made of: two branches, and one joint block per layer.

Hidden states are `[B, T, S, D]`: T latents in time, S tokens per latent (patches of a video latent;
1 for audio), D the branch's width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import attrs
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Conditions, Times
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.encoders.protocol import Encoder

How = Literal["context", "clean_tokens", "add"]


@attrs.frozen
class Port:
    """Where a condition enters the denoiser, and how.

    `context`: tokens that the stream attends to. `clean_tokens`: latents of the stream itself,
    known and clean: the audio branch puts them before its target, the video branch in place of its
    first latents. `add`: the mean token is added to the stream's time embedding.
    """

    stream: str = attrs.field(validator=attrs.validators.in_(STREAMS))
    how: How = attrs.field(validator=attrs.validators.in_(("context", "clean_tokens", "add")))


KNOWN = Port("video", "clean_tokens")
"""How the latents enter that stand at the beginning of the video: a reference image. No pass of the
sampler goes without them.
"""


class Denoiser(Protocol):
    """A torch module: noisy latents of both streams to velocities of both.

    Samples of a batch don't meet, and nothing is drawn: the same question has the same answer.
    `check_denoiser` of `harmony_parts.testing.contracts` holds a denoiser to all that is said here.
    It may have `held`: modules that it uses without listing their weights as its own, which are
    neither trained nor saved with it.
    """

    accepts: Mapping[str, Port]  # the conditions that its encoders produce
    # the hints that it understands; "isolate" lets nothing of one stream through to the other
    hints: frozenset[str]

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


@dataclass(frozen=True, eq=False, slots=True)
class Tokens:
    """A stream inside the denoiser.

    `hidden` [B, T, S, D] the target; `reference` [B, R, D] its clean reference and `context` [B, L,
    D] what it is told, with `reference_mask` [B, R] and `context_mask` [B, L] (bool, `None`: all
    count), `None` where there is none; `modulation` the branch's own, per distinct time; `rope` its
    table of cos and sin.
    """

    hidden: Tensor
    modulation: Any
    rope: Tensor
    context: Tensor | None = None
    context_mask: Tensor | None = None
    reference: Tensor | None = None
    reference_mask: Tensor | None = None


Term = Callable[[Tensor], Tensor]
"""Given a stream's queries [B, T, S, h, d] of its text attention, what to add to that attention's
result, of the same shape.
"""


class BranchBlock(Protocol):
    """One layer of one branch: a torch module in three steps, which return new tokens. An
    interaction happens after `attend`.
    """

    def attend(self, tokens: Tokens) -> Tokens:
        """Self-attention."""

    def read(self, tokens: Tokens, term: Term | None = None) -> Tokens:
        """Text attention; `term` is added to its result before the output projection. A term of
        zeros adds nothing, even where there is no text.
        """

    def feed(self, tokens: Tokens) -> Tokens:
        """Feed-forward."""


class Branch(Protocol):
    """A torch module: the ends of one stream's transformer, and the maker of its layers.

    Samples don't meet, nothing is drawn, and nothing that is given is changed in place.
    `check_video_branch` and `check_audio_branch` of `harmony_parts.testing.contracts` hold a branch
    to all that is said here.
    """

    width: int
    heads: int  # they divide the width

    def block(self) -> BranchBlock:
        """A new layer with weights of its own, to be owned by a JointBlock."""

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of the tokens of one latent, whose product is S, for latents of `shape`
        [B, T, ...]; (1, 1) for sound.
        """

    def told(self, conditions: Conditions) -> Any:
        """What the branch makes of its conditions; the same at every step, so a caller may keep
        it.
        """

    def embed(self, latents: Tensor, times: Times, told: Any) -> Tokens:
        """Latents [B, T, ...] to tokens."""

    def unembed(self, tokens: Tokens, shape: tuple[int, ...]) -> Tensor:
        """Tokens to velocities of `shape`."""


class BranchSpec(Protocol):
    """Settings of a branch; video and audio branches are of two kinds with this one contract."""

    def build(
        self, *, channels: int, grid: tuple[int, ...], conditions: Mapping[str, tuple[How, int]]
    ) -> Branch:
        """A branch for latents of that many channels on that grid ((h, w) of a video latent, () of
        sound), told conditions of those ways and widths.

        There may be none. A video branch needn't hear `clean_tokens`: the denoiser puts them among
        the latents. Raises AssemblyError for a condition for which it has no place.
        """


class VideoBranchSpec(BranchSpec, Protocol):
    """Settings of a video branch: what a setting of that kind is annotated with."""


class AudioBranchSpec(BranchSpec, Protocol):
    """Settings of an audio branch: what a setting of that kind is annotated with."""
