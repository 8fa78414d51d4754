"""Problems for the kernels and error bounds, for the interpreter on a CPU and for a GPU."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from harmony_parts.attention.protocol import Windows
from harmony_parts.kernels.local_cross_attention import naive, op

DIRECTIONS = ("frames_read", "latents_read")


@attrs.frozen
class Problem:
    """One call with `frames` of `tokens` and `latents`; `windows` belong to the queries."""

    direction: str
    frames: int
    tokens: int
    latents: int
    windows: Tensor  # int64 [F or T, 2]
    batch: int = 1
    heads: int = 1
    head: int = 16
    pairs: int = 8
    half: bool = False
    dtype: torch.dtype = torch.float32
    seed: int = 0
    device: str = "cpu"

    @property
    def q_is_frames(self) -> bool:
        return self.direction == "frames_read"

    def tables(self) -> op.Tables:
        made = Windows.of(
            *self.windows.unbind(1), self.latents if self.q_is_frames else self.frames
        ).to(self.device)
        if self.q_is_frames:
            return op.Tables.of(made.of_query, made.of_key, made.most_keys)
        return op.Tables.of(made.of_key, made.of_query, made.most_queries)

    def tensors(self) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """q, k, v; the gradient of o; angles of frames and latents."""
        g = torch.Generator().manual_seed(self.seed)
        frame = (self.batch, self.frames, self.tokens, self.heads, self.head)
        latent = (self.batch, self.latents, self.heads, self.head)
        q, kv = (frame, latent) if self.q_is_frames else (latent, frame)
        drawn = [
            torch.randn(shape, generator=g, dtype=torch.float64).to(self.dtype)
            for shape in (q, kv, kv, q)
        ]
        turns = [40 * torch.rand(n, self.pairs, generator=g) for n in (self.frames, self.latents)]
        return drawn[:3], drawn[3], turns[0], turns[1]

    def solve(
        self, f: Callable[..., Tensor], dtype: torch.dtype, device: str = "cpu"
    ) -> list[Tensor]:
        """o, dq, dk, dv on the CPU, computed in `dtype` on `device`.

        `f` takes q, k, v, the frames' angles, the latents' angles and `half`.
        """
        inputs, do, *turns = self.tensors()
        leaves = [x.to(device, dtype).clone().requires_grad_() for x in inputs]
        out = f(*leaves, *(turn.to(device) for turn in turns), self.half)
        out.backward(do.to(device, dtype))
        return [x.detach().cpu() for x in (out, *(leaf.grad for leaf in leaves))]

    def naive(self, dtype: torch.dtype) -> list[Tensor]:
        f = getattr(naive, self.direction)
        return self.solve(lambda q, k, v, *rest: f(q, k, v, self.windows, *rest), dtype)

    def kernel(self) -> list[Tensor]:
        f, tables = getattr(op, self.direction), self.tables()
        return self.solve(lambda q, k, v, *rest: f(q, k, v, tables, *rest), self.dtype, self.device)


def pairs_of(start: list[int], end: list[int]) -> Tensor:
    return torch.tensor([start, end]).T.contiguous()


def check(problem: Problem) -> None:
    """Errors are at most twice naive.py's at that precision plus one ulp of the largest number.

    dS = p (dp - delta) is a difference, and 0 if a window holds one key. `latents_read` computes
    delta from a rounded o, so its dq and dk are allowed an ulp of the terms of that difference. It
    also computes p = exp(s - lse) from the stored logsumexp, where naive.py subtracts the maximum
    first: one float32 ulp of s is the same relative error in p, and in every sum over p.
    |s| <= |q| |k| / sqrt(d).
    """
    exact, plain, mine = (
        problem.naive(torch.float64),
        problem.naive(problem.dtype),
        problem.kernel(),
    )
    subtracted = dict.fromkeys(("o", "dq", "dk", "dv"), 0.0)
    stored = dict.fromkeys(subtracted, 0.0)  # ulps of p, in float32
    if not problem.q_is_frames:
        (q, k, v), do, *_ = problem.tensors()
        scores = (
            float(q.double().norm(dim=-1).max() * k.double().norm(dim=-1).max()) / problem.head**0.5
        )
        stored |= {"dq": scores, "dk": scores, "dv": scores}
        dp = (
            torch.einsum("bthd,bfshd->bhtfs", do.double(), v.double()).abs().max()
            / problem.head**0.5
        )
        subtracted |= {"dq": float(dp * k.abs().max()), "dk": float(dp * q.abs().max())}
    for name, e, n, m in zip(subtracted, exact, plain, mine, strict=True):
        assert m.shape == e.shape
        assert torch.isfinite(m).all(), name
        ulp = torch.finfo(problem.dtype).eps + torch.finfo(torch.float32).eps * stored[name]
        ulp *= max(float(e.abs().max()), subtracted[name])
        assert (m.double() - e).abs().max() <= 2 * (n.double() - e).abs().max() + ulp, name
        assert (m.double() - e).norm() <= 2 * (n.double() - e).norm() + ulp * m.numel() ** 0.5, name
    # rows outside all windows are exactly 0
    tables = attrs.evolve(problem, device="cpu").tables()
    unread = (
        tables.latents_of_frame[:, 0] == tables.latents_of_frame[:, 1],
        tables.frames_of_latent[:, 0] == tables.frames_of_latent[:, 1],
    )
    of_q, of_k = unread if problem.q_is_frames else unread[::-1]
    for m, empty in zip(mine, (of_q, of_q, of_k, of_k), strict=True):
        assert (m[:, empty] == 0).all()


# an empty window between others, and a reader of everything
RAGGED = {
    "frames_read": pairs_of([0, 3, 4], [3, 3, 7]),
    "latents_read": pairs_of([0, 0, 0, 1, 1, 2, 3], [1, 2, 3, 3, 3, 3, 3]),
}
