"""Local cross-attention by gathering each window: cost grows with the windows, not with the clip."""

from __future__ import annotations

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from harmony_parts.attention.protocol import Windows
from harmony_parts.rope import rotate, table


@attrs.frozen
class Eager:
    """No settings."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor) -> Tensor:
        """See `LocalAttention`. Windows are padded to the widest one."""
        batch, frames = q.shape[:2]
        size = max(1, int((windows.end - windows.start).max()))
        q, k = rotate(q, table(q_angles)[:, None, None]), rotate(k, table(k_angles)[:, None, None])
        index = windows.start[:, None] + torch.arange(size, device=q.device)  # [Tq, W]
        seen = index < windows.end[:, None]
        if not k.shape[1]:  # nothing to attend to: every window is empty
            return q * 0
        index = index.clamp(max=k.shape[1] - 1)

        def window(x: Tensor) -> Tensor:  # [B, Tk, Sk, h, d] -> [B Tq, h, W Sk, d]
            return x[:, index].flatten(2, 3).flatten(0, 1).transpose(1, 2)

        some = seen.any(1)  # an empty window looks at its first key, and is zeroed
        mask = (seen | ~some[:, None]).repeat_interleave(k.shape[2], dim=1)[:, None, None]  # [Tq, 1, 1, W Sk]
        mask = mask.expand(batch, *mask.shape).flatten(0, 1)
        out = F.scaled_dot_product_attention(q.flatten(0, 1).transpose(1, 2), window(k), window(v), attn_mask=mask)
        out = out.transpose(1, 2).unflatten(0, (batch, frames))
        return torch.where(some[:, None, None, None], out, torch.zeros_like(out))
