"""The kernels and their launches. README.md derives them; op.py makes operators of them.

One side has frames (F of S tokens, streamed once), the other latents (T of one token; at most W of
them meet a frame, and stay on the chip). A program is one head of one frame, or of a part of it.
Nothing is added atomically: every number is stored once, and sums have a fixed order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETING = triton.knobs.runtime.interpret
LOG2E = 1.4426950408889634
WIDEST = 64  # latents that may meet one frame
LARGEST = 128  # head dimension


class Config(NamedTuple):
    """Tokens of a frame per tile, and how the compiler is to lay them out."""

    tile: int
    warps: int
    stages: int


@triton.jit
def _place(H, F, SPLIT: tl.constexpr):
    """Head, part of the frame, frame counted over the batch, frame, sample. Neighbouring programs
    share a frame's rows.
    """
    pid = tl.program_id(0)
    bf = (pid // (H * SPLIT)).to(tl.int64)  # rows times channels pass 2^31
    return pid % H, (pid // H) % SPLIT, bf, bf % F, bf // F


@triton.jit
def _pairs(d, PAIRS: tl.constexpr, HALF: tl.constexpr):
    """Of channels d: whether they turn, their pair, the other channel of the pair, and the sign
    with which that one comes in.
    """
    turns = d < 2 * PAIRS
    if HALF:
        low = d < PAIRS
        pair = tl.where(low, d, d - PAIRS)
        partner = tl.where(low, d + PAIRS, d - PAIRS)
    else:
        low = d % 2 == 0
        pair = d // 2
        partner = tl.where(low, d + 1, d - 1)
    return turns, tl.where(turns, pair, 0), tl.where(turns, partner, d), tl.where(low, -1.0, 1.0)


@triton.jit
def _difference(own, one, turns):
    """cos and sin of (own - one) from pointers to (cos, sin), by the addition theorem; 1 and 0
    where nothing turns.
    """
    c, s, c1, s1 = tl.load(own), tl.load(own + 1), tl.load(one), tl.load(one + 1)
    return tl.where(turns, c * c1 + s * s1, 1.0), tl.where(turns, s * c1 - c * s1, 0.0)


@triton.jit
def _rows(x, at, live, D: tl.constexpr, BD: tl.constexpr):
    """Rows `at` (in heads) of x, float32 [W, BD]; 0 where not live and beyond D."""
    d = tl.arange(0, BD)
    return tl.load(x + at[:, None] * D + d[None], mask=live[:, None] & (d[None] < D), other=0.0).to(
        tl.float32
    )


@triton.jit
def _turned_rows(
    x,
    at,
    latent,
    live,
    turn_latent,
    turn_frame,
    D: tl.constexpr,
    BD: tl.constexpr,
    PAIRS: tl.constexpr,
    HALF: tl.constexpr,
):
    """Rows turned by the latents' angles less the frame's: float32 [W, BD]."""
    d = tl.arange(0, BD)
    turns, pair, partner, sign = _pairs(d, PAIRS, HALF)
    own = turn_latent + (tl.where(live, latent, 0)[:, None] * PAIRS + pair[None]) * 2
    cos, sin = _difference(own, turn_frame + pair[None] * 2, turns[None])
    other = tl.load(
        x + at[:, None] * D + partner[None], mask=live[:, None] & (d[None] < D), other=0.0
    ).to(tl.float32)
    return _rows(x, at, live, D, BD) * cos + sign[None] * other * sin


@triton.jit
def _window(of_frame, f, b, h, T, H, W: tl.constexpr):
    """The latents that meet frame f, which of the W are any, and their rows (in heads)."""
    latent = tl.load(of_frame + 2 * f) + tl.arange(0, W)
    return latent, latent < tl.load(of_frame + 2 * f + 1), (b * T + latent) * H + h


@triton.jit
def _tile(
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
    """Tile i of a program's tokens: which of them are any, and where their channels are [TILE, BD],
    and which of those are any.
    """
    s = (part * TILES + i) * TILE + tl.arange(0, TILE)
    d = tl.arange(0, BD)
    return s < S, ((bf * S + s) * H + h)[:, None] * D + d[None], (s[:, None] < S) & (d[None] < D)


@triton.jit
def _load(x, where, here, DOT: tl.constexpr):
    """A tile as a factor of products. By way of float32, because the interpreter can't do
    otherwise.
    """
    return tl.load(x + where, mask=here, other=0.0).to(tl.float32).to(DOT)


@triton.jit
def _weights(scores, live):
    """Softmax over axis 1, in powers of 2; 0 where nothing is live."""
    scores = tl.where(live[None], scores, float("-inf"))
    largest = tl.max(scores, 1)
    p = tl.exp2(scores - tl.where(largest == float("-inf"), 0.0, largest)[:, None])
    total = tl.sum(p, 1)
    return p / tl.where(total == 0.0, 1.0, total)[:, None]


@triton.jit
def frames_read_forward(
    q, k, v, o, of_frame, turn_frame, turn_latent, F, T, H, scale,
    S: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr,
    PAIRS: tl.constexpr, HALF: tl.constexpr,
    SPLIT: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """The whole window is one tile of keys, so each tile of queries is done at once."""
    h, part, bf, f, b = _place(H, F, SPLIT)
    latent, live, at = _window(of_frame, f, b, h, T, H, W)
    keys = _turned_rows(
        k, at, latent, live, turn_latent, turn_frame + f * PAIRS * 2, D, BD, PAIRS, HALF
    ).to(DOT)
    values = _rows(v, at, live, D, BD).to(DOT)
    for i in range(TILES):
        _, where, here = _tile(i, part, bf, h, H, S, D, BD, TILE, TILES)
        queries = _load(q, where, here, DOT)
        p = _weights(tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale, live)
        out = tl.dot(p.to(DOT), values, input_precision="ieee")
        tl.store(o + where, out.to(o.dtype.element_ty), mask=here)


@triton.jit
def frames_read_backward(
    q, k, v, do, dq, dk, dv, of_frame, turn_frame, turn_latent, F, T, H, scale, root,
    S: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr,
    PAIRS: tl.constexpr, HALF: tl.constexpr,
    SPLIT: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One pass: p again, delta = rowsum(p dp); dq is stored, dk (still turned) and dv of this
    frame's window are summed on the chip.
    """
    h, part, bf, f, b = _place(H, F, SPLIT)
    latent, live, at = _window(of_frame, f, b, h, T, H, W)
    keys = _turned_rows(
        k, at, latent, live, turn_latent, turn_frame + f * PAIRS * 2, D, BD, PAIRS, HALF
    ).to(DOT)
    values = _rows(v, at, live, D, BD).to(DOT)
    d = tl.arange(0, BD)
    dkeys = tl.zeros([W, BD], tl.float32)
    dvalues = tl.zeros([W, BD], tl.float32)
    for i in range(TILES):
        _, where, here = _tile(i, part, bf, h, H, S, D, BD, TILE, TILES)
        queries = _load(q, where, here, DOT)
        douts = _load(do, where, here, DOT)
        p = _weights(tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale, live)
        dp = tl.dot(douts, tl.trans(values), input_precision="ieee")
        ds = (p * (dp - tl.sum(p * dp, 1)[:, None]) * root).to(DOT)
        tl.store(
            dq + where, tl.dot(ds, keys, input_precision="ieee").to(dq.dtype.element_ty), mask=here
        )
        dkeys = tl.dot(tl.trans(ds), queries, dkeys, input_precision="ieee")
        dvalues = tl.dot(tl.trans(p.to(DOT)), douts, dvalues, input_precision="ieee")
    row = ((bf * SPLIT + part) * H + h) * W + tl.arange(0, W)
    kept = live[:, None] & (d[None] < D)
    tl.store(dk + row[:, None] * D + d[None], dkeys, mask=kept)
    tl.store(dv + row[:, None] * D + d[None], dvalues, mask=kept)


@triton.jit
def latents_read_forward(
    q, k, v, largest, total, partial, of_frame, turn_frame, turn_latent, F, T, H, scale,
    S: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr,
    PAIRS: tl.constexpr, HALF: tl.constexpr,
    SPLIT: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """A frame's keys and values against all latents that read it: largest score, sum and unscaled
    output, for `merge`.
    """
    h, part, bf, f, b = _place(H, F, SPLIT)
    latent, live, at = _window(of_frame, f, b, h, T, H, W)
    queries = _turned_rows(
        q, at, latent, live, turn_latent, turn_frame + f * PAIRS * 2, D, BD, PAIRS, HALF
    ).to(DOT)
    d = tl.arange(0, BD)
    m = tl.full([W], float("-inf"), tl.float32)
    n = tl.zeros([W], tl.float32)
    acc = tl.zeros([W, BD], tl.float32)
    for i in range(TILES):
        some, where, here = _tile(i, part, bf, h, H, S, D, BD, TILE, TILES)
        keys = _load(k, where, here, DOT)
        values = _load(v, where, here, DOT)
        scores = tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale
        scores = tl.where(some[None], scores, float("-inf"))
        m_new = tl.maximum(m, tl.max(scores, 1))
        safe = tl.where(m_new == float("-inf"), 0.0, m_new)
        p = tl.exp2(scores - safe[:, None])
        shrink = tl.exp2(m - safe)
        n = n * shrink + tl.sum(p, 1)
        acc = tl.dot(p.to(DOT), values, acc * shrink[:, None], input_precision="ieee")
        m = m_new
    row = ((bf * SPLIT + part) * H + h) * W + tl.arange(0, W)
    tl.store(largest + row, m, mask=live)
    tl.store(total + row, n, mask=live)
    tl.store(partial + row[:, None] * D + d[None], acc, mask=live[:, None] & (d[None] < D))


@triton.jit
def merge(
    largest, total, partial, o, lse, of_frame, of_latent, F, T, H,
    D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr, SPLIT: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    """Join what the frames of a latent's window hold for it: o, and log2 of the sum of 2^score for
    the backward pass.
    """
    bt = tl.program_id(0).to(tl.int64)
    j, b = bt % T, bt // T
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    d = tl.arange(0, BD)
    inside = (h[:, None] < H) & (d[None] < D)
    m = tl.full([BH], float("-inf"), tl.float32)
    n = tl.zeros([BH], tl.float32)
    acc = tl.zeros([BH, BD], tl.float32)
    f = tl.load(of_latent + 2 * j)
    end = tl.load(of_latent + 2 * j + 1)
    while f < end:
        r = j - tl.load(of_frame + 2 * f)
        for part in tl.static_range(SPLIT):
            row = (((b * F + f) * SPLIT + part) * H + h) * W + r
            m_part = tl.load(largest + row, mask=h < H, other=float("-inf"))
            n_part = tl.load(total + row, mask=h < H, other=0.0)
            m_new = tl.maximum(m, m_part)
            safe = tl.where(m_new == float("-inf"), 0.0, m_new)
            shrink, grow = tl.exp2(m - safe), tl.exp2(m_part - safe)
            n = n * shrink + n_part * grow
            acc = (
                acc * shrink[:, None]
                + tl.load(partial + row[:, None] * D + d[None], mask=inside, other=0.0)
                * grow[:, None]
            )
            m = m_new
        f += 1
    some = n > 0.0
    n = tl.where(some, n, 1.0)
    at = bt * H + h
    tl.store(lse + at, tl.where(some, m, 0.0) + tl.log2(n), mask=h < H)
    tl.store(o + at[:, None] * D + d[None], (acc / n[:, None]).to(o.dtype.element_ty), mask=inside)


@triton.jit
def latents_read_backward(
    q, k, v, o, lse, do, dq, dk, dv, of_frame, turn_frame, turn_latent, F, T, H, scale, root,
    S: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr,
    PAIRS: tl.constexpr, HALF: tl.constexpr,
    SPLIT: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """All that reads a frame is here, so its dk and dv are complete; dq (still turned) is this
    frame's share of it.
    """
    h, part, bf, f, b = _place(H, F, SPLIT)
    latent, live, at = _window(of_frame, f, b, h, T, H, W)
    queries = _turned_rows(
        q, at, latent, live, turn_latent, turn_frame + f * PAIRS * 2, D, BD, PAIRS, HALF
    ).to(DOT)
    douts = _rows(do, at, live, D, BD)
    delta = tl.sum(douts * _rows(o, at, live, D, BD), 1)
    douts = douts.to(DOT)
    sums = tl.load(lse + at, mask=live, other=0.0)
    d = tl.arange(0, BD)
    dqueries = tl.zeros([W, BD], tl.float32)
    for i in range(TILES):
        some, where, here = _tile(i, part, bf, h, H, S, D, BD, TILE, TILES)
        keys = _load(k, where, here, DOT)
        values = _load(v, where, here, DOT)
        # tokens down, latents across: [TILE, W]
        p = tl.exp2(tl.dot(keys, tl.trans(queries), input_precision="ieee") * scale - sums[None])
        p = tl.where(live[None] & some[:, None], p, 0.0)
        dp = tl.dot(values, tl.trans(douts), input_precision="ieee")
        ds = (p * (dp - delta[None]) * root).to(DOT)
        tl.store(
            dv + where,
            tl.dot(p.to(DOT), douts, input_precision="ieee").to(dv.dtype.element_ty),
            mask=here,
        )
        tl.store(
            dk + where,
            tl.dot(ds, queries, input_precision="ieee").to(dk.dtype.element_ty),
            mask=here,
        )
        dqueries = tl.dot(tl.trans(ds), keys, dqueries, input_precision="ieee")
    row = ((bf * SPLIT + part) * H + h) * W + tl.arange(0, W)
    tl.store(dq + row[:, None] * D + d[None], dqueries, mask=live[:, None] & (d[None] < D))


@triton.jit
def gather(
    partial, out, of_frame, of_latent, turn_frame, turn_latent, F, T, H,
    D: tl.constexpr, BD: tl.constexpr, W: tl.constexpr, PAIRS: tl.constexpr, HALF: tl.constexpr,
    SPLIT: tl.constexpr, BH: tl.constexpr, TURNED: tl.constexpr,
):  # fmt: skip
    """out[j] = sum over the frames f that meet latent j of partial[f, j - first_f], turned back
    where TURNED. Order of f: rising.
    """
    bt = tl.program_id(0).to(tl.int64)
    j, b = bt % T, bt // T
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    d = tl.arange(0, BD)
    inside = (h[:, None] < H) & (d[None] < D)
    turns, pair, partner, sign = _pairs(d, PAIRS, HALF)
    acc = tl.zeros([BH, BD], tl.float32)
    f = tl.load(of_latent + 2 * j)
    end = tl.load(of_latent + 2 * j + 1)
    while f < end:
        r = j - tl.load(of_frame + 2 * f)
        if TURNED:
            cos, sin = _difference(
                turn_latent + (j * PAIRS + pair) * 2, turn_frame + (f * PAIRS + pair) * 2, turns
            )
        for part in tl.static_range(SPLIT):
            row = ((((b * F + f) * SPLIT + part) * H + h) * W + r)[:, None] * D
            x = tl.load(partial + row + d[None], mask=inside, other=0.0)
            if TURNED:
                x = (
                    x * cos[None]
                    - sign[None]
                    * tl.load(partial + row + partner[None], mask=inside, other=0.0)
                    * sin[None]
                )
            acc += x
        f += 1
    tl.store(out + (bt * H + h)[:, None] * D + d[None], acc.to(out.dtype.element_ty), mask=inside)


def allocate(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Memory that a kernel fills. What it leaves is never read."""
    return torch.empty(shape, device=like.device, dtype=dtype or like.dtype)


def config(kernel: str, head: int, window: int, dtype: torch.dtype) -> Config:
    """Defaults, chosen so that nothing spills on sm_80, sm_90 and sm_100
    (tests/kernels/test_compiled.py); none of them has been timed.
    """
    if INTERPRETING:
        return Config(16, 4, 1)
    if dtype == torch.float32:  # no tensor cores: IEEE products, and twice the bytes
        return Config(16, 8 if window <= 32 else 16, 1)
    if kernel.endswith("backward"):
        return Config(32, 4, 2) if window <= 16 else Config(32, 8, 1)
    return Config(64, 4, 3 if window <= 32 else 2)


def padded(n: int) -> int:
    """The least power of 2 from n on that a product of tiles can have as a side."""
    return max(16, triton.next_power_of_2(n))


def splits(programs: int, tiles: int) -> int:
    """Parts of a frame: 2 or 4 where one program per frame and head would leave a large GPU idle.
    Of the shapes alone, so that bits repeat.
    """
    wanted = 1 if programs >= 512 else 2 if programs >= 256 else 4
    return min(wanted, tiles)


def constants(
    kernel: str,
    head: int,
    tokens: int,
    window: int,
    pairs: int,
    half: bool,
    dtype: torch.dtype,
    programs: int,
) -> dict[str, Any]:
    """The constexpr arguments and options of one of the four main kernels."""
    tile, warps, stages = config(kernel, padded(head), padded(window), dtype)
    split = splits(programs, triton.cdiv(tokens, tile))
    dot = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}[
        torch.float32 if INTERPRETING else dtype
    ]
    return {
        "S": tokens, "D": head, "BD": padded(head), "W": padded(window), "PAIRS": pairs, "HALF": half,  # noqa: E501
        "SPLIT": split, "TILE": tile, "TILES": triton.cdiv(tokens, tile * split), "DOT": dot,
        "num_warps": warps, "num_stages": stages,
    }  # fmt: skip


class Launch:
    """The shapes of one call, and what all its launches share."""

    def __init__(
        self,
        frames: Tensor,
        latents: Tensor,
        of: tuple[Tensor, Tensor],
        turn: tuple[Tensor, Tensor],
        window: int,
        half: bool,
    ) -> None:
        self.frames, self.latents, self.of, self.turn = frames, latents, of, turn
        self.b, self.f, self.s, self.h, self.d = frames.shape
        self.t, self.window, self.half, self.pairs = (
            latents.shape[1],
            window,
            half,
            turn[0].shape[1],
        )
        self.scale = LOG2E / self.d**0.5

    def constants(self, kernel: str) -> dict[str, Any]:
        """Of a main kernel."""
        return constants(
            kernel,
            self.d,
            self.s,
            self.window,
            self.pairs,
            self.half,
            self.frames.dtype,
            self.b * self.f * self.h,
        )

    def main(
        self, kernel: Any, constants: dict[str, Any], *tensors: Tensor, root: tuple[float, ...] = ()
    ) -> None:
        """One program per head, part and frame."""
        if grid := self.b * self.f * self.h * constants["SPLIT"]:
            kernel[(grid,)](
                *tensors,
                self.of[0],
                *self.turn,
                self.f,
                self.t,
                self.h,
                self.scale,
                *root,
                **constants,
            )

    def partial(self, constants: dict[str, Any], *last: int) -> Tensor:
        """float32 [B, F, SPLIT, h, W, ...]: what each program holds for its latents."""
        return allocate(
            (self.b, self.f, constants["SPLIT"], self.h, constants["W"], *last),
            self.frames,
            torch.float32,
        )

    def small(
        self,
        kernel: Any,
        split: int,
        width: int,
        *tensors: Tensor,
        turn: tuple[Tensor, ...] = (),
        **more: Any,
    ) -> None:
        """One program per latent and 8 heads."""
        heads = min(8 if not INTERPRETING else 64, triton.next_power_of_2(self.h))
        if self.b * self.t:
            grid = (self.b * self.t, triton.cdiv(self.h, heads))
            sizes = {"D": self.d, "BD": padded(self.d), "W": width, "SPLIT": split, "BH": heads}
            kernel[grid](
                *tensors, *self.of, *turn, self.f, self.t, self.h, **sizes, **more, num_warps=4
            )

    def gathered(self, partial: Tensor, turned: bool) -> Tensor:
        """Sum the partials of each latent: [B, T, h, d]."""
        out = allocate(self.latents.shape, self.latents)
        split, width = partial.shape[2], partial.shape[4]
        self.small(
            gather,
            split,
            width,
            partial,
            out,
            turn=self.turn,
            PAIRS=self.pairs,
            HALF=self.half,
            TURNED=turned,
        )
        return out


def run_frames_read(launch: Launch, k: Tensor, v: Tensor) -> Tensor:
    """o [B, F, S, h, d]; the launch's frames are q."""
    o = allocate(launch.frames.shape, launch.frames)
    launch.main(
        frames_read_forward, launch.constants("frames_read_forward"), launch.frames, k, v, o
    )
    return o


def run_frames_read_backward(
    launch: Launch, k: Tensor, v: Tensor, do: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv."""
    c = launch.constants("frames_read_backward")
    dq, dk, dv = allocate(do.shape, do), launch.partial(c, launch.d), launch.partial(c, launch.d)
    launch.main(
        frames_read_backward, c, launch.frames, k, v, do, dq, dk, dv, root=(launch.d**-0.5,)
    )
    return dq, launch.gathered(dk, turned=True), launch.gathered(dv, turned=False)


def run_latents_read(launch: Launch, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """o [B, T, h, d] and lse float32 [B, T, h]; the launch's latents are q."""
    c = launch.constants("latents_read_forward")
    largest, total, partial = launch.partial(c), launch.partial(c), launch.partial(c, launch.d)
    launch.main(latents_read_forward, c, launch.latents, k, v, largest, total, partial)
    o = allocate(launch.latents.shape, launch.latents)
    lse = allocate(launch.latents.shape[:3], o, torch.float32)
    launch.small(merge, c["SPLIT"], c["W"], largest, total, partial, o, lse)
    return o, lse


def run_latents_read_backward(
    launch: Launch, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, do: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv."""
    c = launch.constants("latents_read_backward")
    dq, dk, dv = launch.partial(c, launch.d), allocate(k.shape, k), allocate(v.shape, v)
    launch.main(
        latents_read_backward,
        c,
        launch.latents,
        k,
        v,
        o,
        lse,
        do,
        dq,
        dk,
        dv,
        root=(launch.d**-0.5,),
    )
    return launch.gathered(dq, turned=True), dk, dv
