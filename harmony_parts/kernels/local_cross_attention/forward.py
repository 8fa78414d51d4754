"""Forward kernels: frames read latents; latents read frames, then merge over frames."""

from __future__ import annotations

import triton
import triton.language as tl

from harmony_parts.kernels.local_cross_attention.device_functions import (
    load_rotated_rows,
    load_rows,
    load_tile,
    program_place,
    tile_of_frame,
    window_of_frame,
    window_softmax,
)


@triton.jit
def frames_read_forward(
    q, k, v, o,
    latents_of_frame, frame_rotations, latent_rotations, F, T, H, scale,
    S: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr,
    PAIRS: tl.constexpr, HALF: tl.constexpr,
    SPLIT: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """The whole window is one tile of keys, so each tile of queries is finished at once."""
    h, part, bf, f, b = program_place(H, F, SPLIT)
    latent, valid, rows = window_of_frame(latents_of_frame, f, b, h, T, H, W)
    keys = load_rotated_rows(
        k,
        rows,
        latent,
        valid,
        latent_rotations,
        frame_rotations + f * PAIRS * 2,
        D,
        BD,
        PAIRS,
        HALF,
    ).to(DOT)
    values = load_rows(v, rows, valid, D, BD).to(DOT)
    for i in range(TILES):
        _, offsets, mask = tile_of_frame(i, part, bf, h, H, S, D, BD, TILE, TILES)
        queries = load_tile(q, offsets, mask, DOT)
        p = window_softmax(tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale, valid)
        out = tl.dot(p.to(DOT), values, input_precision="ieee")
        tl.store(o + offsets, out.to(o.dtype.element_ty), mask=mask)


@triton.jit
def latents_read_forward(
    q, k, v, largest, total, partial,
    latents_of_frame, frame_rotations, latent_rotations, F, T, H, scale,
    S: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr,
    PAIRS: tl.constexpr, HALF: tl.constexpr,
    SPLIT: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One frame's keys and values against all latents that read it.

    Stores what `merge_frames` needs of each latent: largest score, sum of exponentials and
    unnormalised output.
    """
    h, part, bf, f, b = program_place(H, F, SPLIT)
    latent, valid, rows = window_of_frame(latents_of_frame, f, b, h, T, H, W)
    queries = load_rotated_rows(
        q,
        rows,
        latent,
        valid,
        latent_rotations,
        frame_rotations + f * PAIRS * 2,
        D,
        BD,
        PAIRS,
        HALF,
    ).to(DOT)
    d = tl.arange(0, BD)
    m = tl.full([W], float("-inf"), tl.float32)
    n = tl.zeros([W], tl.float32)
    acc = tl.zeros([W, BD], tl.float32)
    for i in range(TILES):
        valid_token, offsets, mask = tile_of_frame(i, part, bf, h, H, S, D, BD, TILE, TILES)
        keys = load_tile(k, offsets, mask, DOT)
        values = load_tile(v, offsets, mask, DOT)
        scores = tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale
        scores = tl.where(valid_token[None], scores, float("-inf"))
        m_new = tl.maximum(m, tl.max(scores, 1))
        safe = tl.where(m_new == float("-inf"), 0.0, m_new)
        p = tl.exp2(scores - safe[:, None])
        rescale = tl.exp2(m - safe)
        n = n * rescale + tl.sum(p, 1)
        acc = tl.dot(p.to(DOT), values, acc * rescale[:, None], input_precision="ieee")
        m = m_new
    row = ((bf * SPLIT + part) * H + h) * W + tl.arange(0, W)
    tl.store(largest + row, m, mask=valid)
    tl.store(total + row, n, mask=valid)
    tl.store(partial + row[:, None] * D + d[None], acc, mask=valid[:, None] & (d[None] < D))


@triton.jit
def merge_frames(
    largest, total, partial, o, lse, latents_of_frame, frames_of_latent, F, T, H,
    D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr, SPLIT: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    """Merge the partial softmaxes over the frames of a latent's window: o, and log2 sum 2^score."""
    bt = tl.program_id(0).to(tl.int64)
    j, b = bt % T, bt // T
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    d = tl.arange(0, BD)
    mask = (h[:, None] < H) & (d[None] < D)
    m = tl.full([BH], float("-inf"), tl.float32)
    n = tl.zeros([BH], tl.float32)
    acc = tl.zeros([BH, BD], tl.float32)
    f = tl.load(frames_of_latent + 2 * j)
    end = tl.load(frames_of_latent + 2 * j + 1)
    while f < end:
        r = j - tl.load(latents_of_frame + 2 * f)
        for part in tl.static_range(SPLIT):
            row = (((b * F + f) * SPLIT + part) * H + h) * W + r
            m_part = tl.load(largest + row, mask=h < H, other=float("-inf"))
            n_part = tl.load(total + row, mask=h < H, other=0.0)
            m_new = tl.maximum(m, m_part)
            safe = tl.where(m_new == float("-inf"), 0.0, m_new)
            rescale, rescale_part = tl.exp2(m - safe), tl.exp2(m_part - safe)
            n = n * rescale + n_part * rescale_part
            acc = (
                acc * rescale[:, None]
                + tl.load(partial + row[:, None] * D + d[None], mask=mask, other=0.0)
                * rescale_part[:, None]
            )
            m = m_new
        f += 1
    nonempty = n > 0.0
    n = tl.where(nonempty, n, 1.0)
    rows = bt * H + h
    tl.store(lse + rows, tl.where(nonempty, m, 0.0) + tl.log2(n), mask=h < H)
    tl.store(o + rows[:, None] * D + d[None], (acc / n[:, None]).to(o.dtype.element_ty), mask=mask)
