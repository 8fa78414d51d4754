"""What a branch is: the transformer of one stream.

Hidden states are `[B, T, S, D]`: T latents in time, S tokens per latent (patches of a video latent;
1 for audio), D the branch's width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

from harmony_parts.av import Conditions, Times

How = Literal["context", "clean_tokens", "add"]


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
    interaction happens after `apply_self_attention`.
    """

    def apply_self_attention(self, tokens: Tokens) -> Tokens:
        """Self-attention."""

    def apply_text_attention(self, tokens: Tokens, term: Term | None = None) -> Tokens:
        """Text attention; `term` is added to its result before the output projection. A term of
        zeros adds nothing, even where there is no text.
        """

    def apply_feed_forward(self, tokens: Tokens) -> Tokens:
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

    def project_conditions(self, conditions: Conditions) -> Any:
        """What the branch makes of its conditions; the same at every step, so a caller may keep
        it.
        """

    def embed(self, latents: Tensor, times: Times, conditions: Any) -> Tokens:
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
