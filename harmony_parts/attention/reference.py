"""Local cross-attention by a dense mask: the definition that faster backends are compared with."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from harmony_parts.attention.protocol import Windows
from harmony_parts.layers.rope import rotate, table


@attrs.frozen
class Reference:
    """Dense attention with a mask, in any precision; no settings."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
    ) -> Tensor:
        """`LocalAttention` by scores of all tokens against all tokens, in the precision of q."""
        wide = torch.promote_types(q.dtype, torch.float32)
        q, k = (
            rotate(x, table(a.to(wide))[:, None, None]) for x, a in ((q, q_angles), (k, k_angles))
        )
        scores = torch.einsum("bishd,bjthd->bhisjt", q, k) / q.shape[-1] ** 0.5
        seen = windows.mask(k.shape[1])[:, None, :, None]  # [Tq, 1, Tk, 1]
        # an empty window has no largest score; with 0 instead, every weight is 0
        scores = scores.masked_fill(~seen, -torch.inf)
        largest = scores.amax((-2, -1), keepdim=True).nan_to_num(neginf=0.0)
        weights = (scores - largest.detach()).exp()
        weights = weights / weights.sum((-2, -1), keepdim=True).clamp_min(
            torch.finfo(weights.dtype).tiny
        )
        return torch.einsum("bhisjt,bjthd->bishd", weights, v)
