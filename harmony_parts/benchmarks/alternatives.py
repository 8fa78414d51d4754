"""Alternative implementations of local cross-attention, and Ovi's global attention.

All tokens of a frame share its angles, so implementations that process frames separately can rotate
the few rows of the other side by the difference (relative rotation). The others are given rotated
queries and keys at no cost, which flatters them; `turned` marks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from harmony_parts.attention.eager import Eager
from harmony_parts.attention.protocol import LocalAttention, Windows
from harmony_parts.attention.triton import Triton
from harmony_parts.attention.windows import windows as clock_windows
from harmony_parts.layers.rope import angles, rotate, table

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
DIRECTIONS = ("video reads audio", "audio reads video")


@attrs.frozen
class Shape:
    """Sizes of a clip in a model, and of the windows in latents."""

    name: str
    heads: int
    head: int  # channels
    frames: int  # video latents
    tokens: int  # per video latent
    latents: int  # audio latents
    dtype: torch.dtype
    audio_window: int = 11  # audio latents that a video latent attends to
    video_window: int = 3  # video latents that an audio latent attends to
    batch: int = 1
    reach: float | None = None
    """Seconds beyond a latent's own interval, at Wan2.2's and MMAudio's rates, as in a model; then
    the two widths are those of the widest windows."""

    def windows(self, direction: str) -> Windows:
        """Windows centred on the reader's time, or those of `reach`."""
        if self.reach is not None:
            video = ((torch.arange(self.frames + 1, dtype=torch.float64) * 4 - 3).clamp(min=0)) / 24
            audio = torch.arange(self.latents + 1, dtype=torch.float64) / 31.25
            frames, latents = (torch.stack((edges[:-1], edges[1:]), 1) for edges in (video, audio))
            if direction == DIRECTIONS[0]:
                return clock_windows(frames, latents, self.reach)
            return clock_windows(latents, frames, self.reach)
        readers, others, wide = (
            (self.frames, self.latents, self.audio_window)
            if direction == DIRECTIONS[0]
            else (self.latents, self.frames, self.video_window)
        )
        centre = ((2 * torch.arange(readers) + 1) * others) // (2 * readers)
        return Windows.of(
            (centre - wide // 2).clamp(min=0), (centre - wide // 2 + wide).clamp(max=others), others
        )

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.heads} heads of {self.head}, {self.frames} video latents of"
            f" {self.tokens} tokens, {self.latents} audio latents, windows of {self.audio_window}"
            f" and {self.video_window}, {str(self.dtype).removeprefix('torch.')}"
        )


@attrs.frozen(eq=False)
class Problem:
    """One direction at one shape, with random tensors."""

    shape: Shape
    direction: str
    q: Tensor  # [B, Tq, Sq, h, d], and k, v [B, Tk, Sk, h, d]
    k: Tensor
    v: Tensor
    do: Tensor  # gradient of the output
    windows: Windows
    q_angles: Tensor
    k_angles: Tensor

    @classmethod
    def of(cls, shape: Shape, direction: str, device: torch.device) -> Problem:
        """Draw the tensors on the device from seed 0."""
        g = torch.Generator(device).manual_seed(0)
        video = shape.batch, shape.frames, shape.tokens, shape.heads, shape.head
        audio = shape.batch, shape.latents, 1, shape.heads, shape.head
        own, other = (video, audio) if direction == DIRECTIONS[0] else (audio, video)
        q, k, v, do = (
            torch.randn(size, generator=g, device=device, dtype=shape.dtype)
            for size in (own, other, other, own)
        )
        places = (
            torch.arange(n, dtype=torch.float64) * shape.frames / n for n in (own[1], other[1])
        )
        q_angles, k_angles = (angles(place, shape.head // 2).to(device) for place in places)
        return cls(
            shape, direction, q, k, v, do, shape.windows(direction).to(device), q_angles, k_angles
        )

    @property
    def video_reads(self) -> bool:
        """Whether queries are video tokens."""
        return self.direction == DIRECTIONS[0]

    def rotated(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """q and k rotated by their own angles."""
        wide = torch.promote_types(q.dtype, torch.float32)
        return rotate(q, table(self.q_angles.to(wide))[:, None, None]), rotate(
            k, table(self.k_angles.to(wide))[:, None, None]
        )

    def least_bytes(self) -> tuple[int, int]:
        """Bytes to read all inputs and write all outputs once, forward and backward.

        If the video reads, the backward pass doesn't need the output.
        """
        q, k, v = (x.numel() * x.element_size() for x in (self.q, self.k, self.v))
        return 2 * q + k + v, (3 if self.video_reads else 4) * q + 2 * (k + v)


@attrs.frozen
class Candidate:
    """One implementation."""

    name: str
    run: Attention
    turned: bool = False  # gets q and k already rotated
    ours: bool = False  # part of this library
    same: bool = True  # computes local attention, not another operator
    backward: bool = True


def candidates(problem: Problem, compiled: bool) -> Iterator[Candidate]:
    """All implementations for the problem's device; those to be compiled only if `compiled`."""
    device = problem.q.device.type

    def part(attention: LocalAttention) -> Attention:
        return lambda q, k, v: attention(
            q, k, v, problem.windows, problem.q_angles, problem.k_angles
        )

    if device == "cuda":
        yield Candidate("triton", part(Triton()), ours=True)
    yield Candidate("eager", part(Eager()), ours=True)
    if compiled:
        yield Candidate(
            "eager, compiled",
            torch.compile(part(Eager()), fullgraph=True, dynamic=False),
            ours=True,
        )
    backends = {"math": SDPBackend.MATH, "flash": SDPBackend.FLASH_ATTENTION}
    if device == "cuda":  # its flash attention takes no mask, which cut windows at the ends need
        backends = {
            "efficient": SDPBackend.EFFICIENT_ATTENTION,
            "cuDNN": SDPBackend.CUDNN_ATTENTION,
            "math": SDPBackend.MATH,
        }
    gathered = _gather_keys(problem) if problem.video_reads else _gather_frames(problem)
    for name, backend in backends.items():
        yield Candidate(
            f"gather + SDPA ({name})", _with(backend, gathered), turned=not problem.video_reads
        )
    yield Candidate("SDPA with a mask", _dense(_mask(problem)), turned=True)
    if compiled:
        yield Candidate(
            "FlexAttention, compiled", _flex(problem), turned=True, backward=device == "cuda"
        )
    yield Candidate("global SDPA, as in Ovi", _dense(None), turned=True, same=False)


def _with(backend: SDPBackend, attention: Attention) -> Attention:
    """The attention with a fixed SDPA backend."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return attention(q, k, v)

    return run


def _gather_keys(problem: Problem) -> Attention:
    """Frames as a batch, each with its window of keys, rotated by the difference of the angles."""
    first, end = problem.windows.of_query.long().split(1, 1)
    index = first + torch.arange(problem.windows.most_keys, device=first.device)
    seen = index < end
    index = index.clamp(max=problem.k.shape[1] - 1)
    # [Tq, W, 1, d/2, 2]
    rotations = table(problem.k_angles[index] - problem.q_angles[:, None])[:, :, None]
    mask = seen[:, None, None].repeat(len(problem.q), 1, 1, 1)

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = rotate(k[:, index, 0], rotations), v[:, index, 0]
        q, keys, values = (x.flatten(0, 1).transpose(1, 2) for x in (q, keys, values))
        return (
            F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
            .transpose(1, 2)
            .unflatten(0, (len(k), -1))
        )

    return run


def _gather_frames(problem: Problem) -> Attention:
    """Queries with the same window as one sample of a batch, with a copy of its frames."""
    windows, tokens = problem.windows, problem.k.shape[2]
    ranges, group, sizes = torch.unique_consecutive(
        windows.of_query.long().cpu(), dim=0, return_inverse=True, return_counts=True
    )
    row = torch.arange(len(group)) - (sizes.cumsum(0) - sizes)[group]
    queries = torch.zeros(len(sizes), int(sizes.max()), dtype=torch.int64)
    queries[group, row] = torch.arange(len(group))
    index = ranges[:, :1] + torch.arange(windows.most_keys)
    seen = (index < ranges[:, 1:]).repeat_interleave(tokens, 1)
    device = problem.q.device
    index, queries, group, row = (
        x.to(device) for x in (index.clamp(max=problem.k.shape[1] - 1), queries, group, row)
    )
    mask = seen[:, None, None].repeat(len(problem.q), 1, 1, 1).to(device)

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = (x[:, index].flatten(2, 3).flatten(0, 1).transpose(1, 2) for x in (k, v))
        out = F.scaled_dot_product_attention(
            q[:, queries, 0].flatten(0, 1).transpose(1, 2), keys, values, attn_mask=mask
        )
        return out.transpose(1, 2).unflatten(0, (len(k), -1))[:, group, row, None]

    return run


def _mask(problem: Problem) -> Tensor:
    """bool [all queries, all keys]."""
    seen = problem.windows.mask(problem.k.shape[1])
    return seen.repeat_interleave(problem.q.shape[2], 0).repeat_interleave(problem.k.shape[2], 1)


def _dense(mask: Tensor | None) -> Attention:
    """Dense attention over all tokens."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shape = q.shape[1:3]
        q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
        return (
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            .transpose(1, 2)
            .unflatten(1, shape)
        )

    return run


def _flex(problem: Problem) -> Attention:
    """FlexAttention with a block mask."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    first, end = (x.contiguous() for x in problem.windows.of_query.unbind(1))
    own, other = problem.q.shape[2], problem.k.shape[2]

    def seen(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j // other >= first[i // own]) & (j // other < end[i // own])

    queries, keys = (x.shape[1] * x.shape[2] for x in (problem.q, problem.k))
    blocks = create_block_mask(seen, None, None, queries, keys, device=str(problem.q.device))
    attend: Callable[..., Any] = torch.compile(flex_attention, dynamic=False)

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shape = q.shape[1:3]
        q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
        out: Tensor = attend(q, k, v, block_mask=blocks)
        return out.transpose(1, 2).unflatten(1, shape)

    return run
