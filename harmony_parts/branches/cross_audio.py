"""Ovi's audio branch: the video branch's layers over a 1-D sequence, embedded by convolutions."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harmony_parts.av import Conditions, Times
from harmony_parts.branches.conditioning import BranchConditions, ConditionProjector
from harmony_parts.branches.protocol import How, Tokens
from harmony_parts.branches.settings import check_heads, precision_knob
from harmony_parts.branches.transformer_block import TransformerBlock
from harmony_parts.errors import AssemblyError
from harmony_parts.layers.linear import Precision, widen
from harmony_parts.layers.modulation import Head, TimeEmbedding
from harmony_parts.layers.rope import OVI_CONSTANT, angles, table, time_pairs
from harmony_parts.plugin import knob


@attrs.frozen
class CrossAudio:
    """Settings of the audio branch."""

    width: int = knob(
        3072,
        help="width of the hidden states",
        unit="channels",
        source="Ovi",
        validator=attrs.validators.ge(2),
    )
    heads: int = knob(
        24,
        help="attention heads; the width of one must be even",
        source="Ovi",
        validator=attrs.validators.ge(1),
    )
    feed: int = knob(
        14336,
        help="width inside the feed-forward",
        unit="channels",
        source="Ovi",
        validator=attrs.validators.ge(1),
    )
    positions_per_latent: float = knob(
        OVI_CONSTANT,
        help=(
            "RoPE positions per latent in self-attention. The duration of an audio latent in video"
            " latents puts both branches on one time line"
        ),
        unit="positions",
        off=1.0,
        source="Ovi",
        validator=attrs.validators.gt(0),
    )
    precision: Precision = precision_knob("Ovi: weights")

    def __attrs_post_init__(self) -> None:
        check_heads(self.width, self.heads)

    def build(
        self, *, channels: int, grid: tuple[int, ...], conditions: Mapping[str, tuple[How, int]]
    ) -> CrossBranch:
        """A branch for latents with these channels.

        Raises AssemblyError for clean tokens: it has no group for a reference.
        """
        for name, (how, _) in conditions.items():
            if how == "clean_tokens":
                raise AssemblyError(
                    f"$.denoiser.audio: `cross` has no reference group for the condition {name!r};"
                    " use `mmdit`, or remove its encoder"
                )
        return CrossBranch(self, channels, conditions)


class CrossBranch(nn.Module):
    """Latents [B, T, C] to tokens [B, T, 1, D] and back."""

    def __init__(
        self, spec: CrossAudio, channels: int, conditions: Mapping[str, tuple[How, int]]
    ) -> None:
        super().__init__()
        self.spec, self.width, self.heads = spec, spec.width, spec.heads
        self.listener = ConditionProjector(spec.width, conditions)
        self.time = TimeEmbedding(spec.width, spec.precision)
        self.latent_embedding = nn.Sequential(
            Conv(channels, spec.width), nn.SiLU(), GatedConv(spec.width)
        )
        self.head = Head(spec.width, channels)

    def block(self) -> TransformerBlock:
        """A new layer with new weights."""
        return TransformerBlock(self.width, self.heads, self.spec.feed)

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(1, 1): one token per latent."""
        return 1, 1

    def project_conditions(self, conditions: Conditions) -> BranchConditions:
        """The conditions at the branch's width."""
        return self.listener(conditions)

    def embed(self, latents: Tensor, times: Times, conditions: BranchConditions) -> Tokens:
        """One token per latent.

        RoPE rotates only the pairs that rotate with time in the video branch, so that both branches
        encode time alike.
        """
        positions = (
            torch.arange(latents.shape[1], dtype=torch.float64, device=latents.device)
            * self.spec.positions_per_latent
        )
        rope = table(angles(positions, time_pairs(self.width // self.heads // 2)))[:, None]
        hidden = widen(self.latent_embedding(latents), self.spec.precision)[:, :, None]
        return Tokens(
            hidden,
            self.time(times, conditions.add),
            rope,
            conditions.context,
            conditions.context_mask,
        )

    def unembed(self, tokens: Tokens, shape: tuple[int, ...]) -> Tensor:
        """Tokens to velocities [B, T, C]."""
        return self.head(tokens.hidden, tokens.modulation).squeeze(2)


class Conv(nn.Conv1d):
    """A convolution over time with a kernel of 7, in the type of its weights."""

    def __init__(self, source: int, width: int, bias: bool = True) -> None:
        super().__init__(source, width, kernel_size=7, padding=3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, source] -> [B, T, width]."""
        return super().forward(x.to(self.weight.dtype).transpose(1, 2)).transpose(1, 2)


class GatedConv(nn.Module):
    """out(silu(gate x) * up x), by convolutions without bias (SwiGLU, arXiv:2002.05202).

    The inner width is 8/3 of the outer one, rounded up to a multiple of 256.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = -(-8 * width // 3 // 256) * 256
        self.gate, self.up, self.out = (
            Conv(width, inner, bias=False),
            Conv(width, inner, bias=False),
            Conv(inner, width, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        return self.out(F.silu(self.gate(x)) * self.up(x))
