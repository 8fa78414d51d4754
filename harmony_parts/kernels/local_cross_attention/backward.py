"""Backward kernels of both directions, and the sum of partial gradients over frames."""

from __future__ import annotations

import triton
import triton.language as tl

from harmony_parts.kernels.local_cross_attention.device_functions import (
    channel_pairs,
    load_rotated_rows,
    load_rows,
    load_tile,
    program_place,
    relative_rotation,
    tile_of_frame,
    window_of_frame,
    window_softmax,
)


@triton.jit
def frames_read_backward(
    q, k, v, do, dq, dk, dv,
    latents_of_frame, frame_rotations, latent_rotations, F, T, H, scale, rsqrt_d,
    S: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr,
    PAIRS: tl.constexpr, HALF: tl.constexpr,
    SPLIT: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One pass: recompute p, delta = rowsum(p dp), store dq.

    dk (not yet rotated back) and dv of this frame's window are accumulated on the chip.
    """
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
    d = tl.arange(0, BD)
    dkeys = tl.zeros([W, BD], tl.float32)
    dvalues = tl.zeros([W, BD], tl.float32)
    for i in range(TILES):
        _, offsets, mask = tile_of_frame(i, part, bf, h, H, S, D, BD, TILE, TILES)
        queries = load_tile(q, offsets, mask, DOT)
        douts = load_tile(do, offsets, mask, DOT)
        p = window_softmax(tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale, valid)
        dp = tl.dot(douts, tl.trans(values), input_precision="ieee")
        ds = (p * (dp - tl.sum(p * dp, 1)[:, None]) * rsqrt_d).to(DOT)
        tl.store(
            dq + offsets,
            tl.dot(ds, keys, input_precision="ieee").to(dq.dtype.element_ty),
            mask=mask,
        )
        dkeys = tl.dot(tl.trans(ds), queries, dkeys, input_precision="ieee")
        dvalues = tl.dot(tl.trans(p.to(DOT)), douts, dvalues, input_precision="ieee")
    row = ((bf * SPLIT + part) * H + h) * W + tl.arange(0, W)
    window_mask = valid[:, None] & (d[None] < D)
    tl.store(dk + row[:, None] * D + d[None], dkeys, mask=window_mask)
    tl.store(dv + row[:, None] * D + d[None], dvalues, mask=window_mask)


@triton.jit
def latents_read_backward(
    q, k, v, o, lse, do, dq, dk, dv,
    latents_of_frame, frame_rotations, latent_rotations, F, T, H, scale, rsqrt_d,
    S: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr,
    PAIRS: tl.constexpr, HALF: tl.constexpr,
    SPLIT: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """Every reader of the frame is in this program, so its dk and dv are complete.

    dq (not yet rotated back) is this frame's share.
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
    douts = load_rows(do, rows, valid, D, BD)
    delta = tl.sum(douts * load_rows(o, rows, valid, D, BD), 1)
    douts = douts.to(DOT)
    sums = tl.load(lse + rows, mask=valid, other=0.0)
    d = tl.arange(0, BD)
    dqueries = tl.zeros([W, BD], tl.float32)
    for i in range(TILES):
        valid_token, offsets, mask = tile_of_frame(i, part, bf, h, H, S, D, BD, TILE, TILES)
        keys = load_tile(k, offsets, mask, DOT)
        values = load_tile(v, offsets, mask, DOT)
        # rows are tokens, columns latents: [TILE, W]
        p = tl.exp2(tl.dot(keys, tl.trans(queries), input_precision="ieee") * scale - sums[None])
        p = tl.where(valid[None] & valid_token[:, None], p, 0.0)
        dp = tl.dot(values, tl.trans(douts), input_precision="ieee")
        ds = (p * (dp - delta[None]) * rsqrt_d).to(DOT)
        tl.store(
            dv + offsets,
            tl.dot(p.to(DOT), douts, input_precision="ieee").to(dv.dtype.element_ty),
            mask=mask,
        )
        tl.store(
            dk + offsets,
            tl.dot(ds, queries, input_precision="ieee").to(dk.dtype.element_ty),
            mask=mask,
        )
        dqueries = tl.dot(tl.trans(ds), keys, dqueries, input_precision="ieee")
    row = ((bf * SPLIT + part) * H + h) * W + tl.arange(0, W)
    tl.store(dq + row[:, None] * D + d[None], dqueries, mask=valid[:, None] & (d[None] < D))


@triton.jit
def sum_over_frames(
    partial, out, latents_of_frame, frames_of_latent, frame_rotations, latent_rotations,
    F, T, H,
    D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr, PAIRS: tl.constexpr, HALF: tl.constexpr,
    SPLIT: tl.constexpr, BH: tl.constexpr, ROTATE_BACK: tl.constexpr,
):  # fmt: skip
    """out[j] = sum over the frames f that meet latent j of partial[f, j - first_f], f ascending.

    Rotates each term back if ROTATE_BACK.
    """
    bt = tl.program_id(0).to(tl.int64)
    j, b = bt % T, bt // T
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    d = tl.arange(0, BD)
    mask = (h[:, None] < H) & (d[None] < D)
    rotates, pair, partner, sign = channel_pairs(d, PAIRS, HALF)
    acc = tl.zeros([BH, BD], tl.float32)
    f = tl.load(frames_of_latent + 2 * j)
    end = tl.load(frames_of_latent + 2 * j + 1)
    while f < end:
        r = j - tl.load(latents_of_frame + 2 * f)
        if ROTATE_BACK:
            cos, sin = relative_rotation(
                latent_rotations + (j * PAIRS + pair) * 2,
                frame_rotations + (f * PAIRS + pair) * 2,
                rotates,
            )
        for part in tl.static_range(SPLIT):
            row = ((((b * F + f) * SPLIT + part) * H + h) * W + r)[:, None] * D
            x = tl.load(partial + row + d[None], mask=mask, other=0.0)
            if ROTATE_BACK:
                x = (
                    x * cos[None]
                    - sign[None]
                    * tl.load(partial + row + partner[None], mask=mask, other=0.0)
                    * sin[None]
                )
            acc += x
        f += 1
    tl.store(out + (bt * H + h)[:, None] * D + d[None], acc.to(out.dtype.element_ty), mask=mask)
