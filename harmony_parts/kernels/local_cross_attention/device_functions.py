"""Device functions that the kernels share: addressing, loads, relative rotation, softmax.

`valid` masks latents of a window; `rows` count in units of one head of one latent.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def program_place(H, F, SPLIT: tl.constexpr):
    """Head, part of the frame, frame index over the whole batch, frame, sample.

    Neighbouring programs share the rows of a frame.
    """
    pid = tl.program_id(0)
    bf = (pid // (H * SPLIT)).to(tl.int64)  # rows times channels pass 2^31
    return pid % H, (pid // H) % SPLIT, bf, bf % F, bf // F


@triton.jit
def window_of_frame(latents_of_frame, f, b, h, T, H, W: tl.constexpr):
    """The latents in frame f's window, which of the W are valid, and their rows (in heads)."""
    latent = tl.load(latents_of_frame + 2 * f) + tl.arange(0, W)
    return latent, latent < tl.load(latents_of_frame + 2 * f + 1), (b * T + latent) * H + h


@triton.jit
def tile_of_frame(
    i,
    part,
    bf,
    h,
    H,
    S: tl.constexpr,
    D: tl.constexpr,
    BD: tl.constexpr,
    TILE: tl.constexpr,
    TILES: tl.constexpr,
):
    """Tile i of the program's tokens: valid tokens, offsets [TILE, BD] of channels, their mask."""
    s = (part * TILES + i) * TILE + tl.arange(0, TILE)
    d = tl.arange(0, BD)
    return s < S, ((bf * S + s) * H + h)[:, None] * D + d[None], (s[:, None] < S) & (d[None] < D)


@triton.jit
def load_tile(x, offsets, mask, DOT: tl.constexpr):
    """A tile as a matmul operand, via float32: the interpreter computes wrongly in bfloat16."""
    return tl.load(x + offsets, mask=mask, other=0.0).to(tl.float32).to(DOT)


@triton.jit
def load_rows(x, rows, valid, D: tl.constexpr, BD: tl.constexpr):
    """The given rows (in units of heads) of x, float32 [W, BD]; 0 if invalid or beyond D."""
    d = tl.arange(0, BD)
    return tl.load(
        x + rows[:, None] * D + d[None], mask=valid[:, None] & (d[None] < D), other=0.0
    ).to(tl.float32)


@triton.jit
def load_rotated_rows(
    x,
    rows,
    latent,
    valid,
    latent_rotations,
    frame_rotations,
    D: tl.constexpr,
    BD: tl.constexpr,
    PAIRS: tl.constexpr,
    HALF: tl.constexpr,
):
    """Rows rotated by the latents' angles minus the frame's: float32 [W, BD]."""
    d = tl.arange(0, BD)
    rotates, pair, partner, sign = channel_pairs(d, PAIRS, HALF)
    own = latent_rotations + (tl.where(valid, latent, 0)[:, None] * PAIRS + pair[None]) * 2
    cos, sin = relative_rotation(own, frame_rotations + pair[None] * 2, rotates[None])
    other = tl.load(
        x + rows[:, None] * D + partner[None], mask=valid[:, None] & (d[None] < D), other=0.0
    ).to(tl.float32)
    return load_rows(x, rows, valid, D, BD) * cos + sign[None] * other * sin


@triton.jit
def channel_pairs(d, PAIRS: tl.constexpr, HALF: tl.constexpr):
    """For channels d: whether each rotates, its pair, its partner channel, the partner's sign."""
    rotates = d < 2 * PAIRS
    if HALF:
        low = d < PAIRS
        pair = tl.where(low, d, d - PAIRS)
        partner = tl.where(low, d + PAIRS, d - PAIRS)
    else:
        low = d % 2 == 0
        pair = d // 2
        partner = tl.where(low, d + 1, d - 1)
    return (
        rotates,
        tl.where(rotates, pair, 0),
        tl.where(rotates, partner, d),
        tl.where(low, -1.0, 1.0),
    )


@triton.jit
def relative_rotation(own, one, rotates):
    """cos and sin of (own - one), by the addition theorem from pointers to (cos, sin).

    1 and 0 for channels that don't rotate.
    """
    c, s, c1, s1 = tl.load(own), tl.load(own + 1), tl.load(one), tl.load(one + 1)
    return tl.where(rotates, c * c1 + s * s1, 1.0), tl.where(rotates, s * c1 - c * s1, 0.0)


@triton.jit
def window_softmax(scores, valid):
    """Softmax over axis 1, in powers of 2; 0 if no key is valid."""
    scores = tl.where(valid[None], scores, float("-inf"))
    largest = tl.max(scores, 1)
    p = tl.exp2(scores - tl.where(largest == float("-inf"), 0.0, largest)[:, None])
    total = tl.sum(p, 1)
    return p / tl.where(total == 0.0, 1.0, total)[:, None]
