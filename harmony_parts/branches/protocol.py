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
    """The state of a stream between the layers of a denoiser.

    `hidden` [B, T, S, D]: the target. `reference` [B, R, D]: the clean reference, with
    `reference_mask` [B, R]. `context` [B, L, D]: the context tokens, with `context_mask` [B, L]. A
    mask is bool, and `None` if all tokens count; `reference` and `context` are `None` if there are
    none. `modulation`: the branch's modulation per distinct time. `rope`: its table of cos and sin.
    """

    hidden: Tensor
    modulation: Any
    rope: Tensor
    context: Tensor | None = None
    context_mask: Tensor | None = None
    reference: Tensor | None = None
    reference_mask: Tensor | None = None


Term = Callable[[Tensor], Tensor]
"""From the queries [B, T, S, h, d] of a text attention to a tensor of the same shape, which
is added to the attention's result before the output projection.
"""


class BranchBlock(Protocol):
    """One layer of one branch: a torch module with three steps, each from tokens to new tokens.

    The interaction comes after `apply_self_attention`.
    """

    def apply_self_attention(self, tokens: Tokens) -> Tokens:
        """Self-attention of the stream."""

    def apply_text_attention(self, tokens: Tokens, term: Term | None = None) -> Tokens:
        """Text attention; `term` is added to its result before the output projection.

        A term of zeros changes nothing, even if there is no text.
        """

    def apply_feed_forward(self, tokens: Tokens) -> Tokens:
        """Feed-forward network."""


class Branch(Protocol):
    """A torch module: the embedding and output layers of one stream, and a factory of its layers.

    Samples are independent, no random numbers are drawn, and no argument is changed in place.
    `check_video_branch` and `check_audio_branch` of `harmony_parts.testing.contracts` check all of
    this.
    """

    width: int
    heads: int  # they divide the width

    def block(self) -> BranchBlock:
        """A new layer with new weights, which a JointBlock will own."""

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of the tokens of one latent, for latents of `shape` [B, T, ...].

        Their product is S. For audio: (1, 1).
        """

    def project_conditions(self, conditions: Conditions) -> Any:
        """The branch's conditions at its width; the same at every step, so it can be cached."""

    def embed(self, latents: Tensor, times: Times, conditions: Any) -> Tokens:
        """Latents [B, T, ...] to tokens, with projected conditions."""

    def unembed(self, tokens: Tokens, shape: tuple[int, ...]) -> Tensor:
        """Tokens to velocities of `shape`."""


class BranchSpec(Protocol):
    """Settings of a branch: video and audio branches are two kinds with this same contract."""

    def build(
        self, *, channels: int, grid: tuple[int, ...], conditions: Mapping[str, tuple[How, int]]
    ) -> Branch:
        """A branch for latents with these channels and this grid: (h, w) of a video latent, or ().

        `conditions`: name -> how it enters and its width; there may be none. A video branch may
        ignore `clean_tokens`: the denoiser puts them among the latents. Raises AssemblyError for a
        condition that it can't take.
        """


class VideoBranchSpec(BranchSpec, Protocol):
    """Settings of a video branch; the annotation of a setting that holds one."""


class AudioBranchSpec(BranchSpec, Protocol):
    """Settings of an audio branch; the annotation of a setting that holds one."""
