"""Local cross-attention by Triton kernels.

The side with more tokens per frame is read once; the other side's window stays on the chip.
"""

from __future__ import annotations

import attrs
from torch import Tensor

from harmony_parts.attention.protocol import Windows


@attrs.frozen
class Triton:
    """The Triton kernels; no settings."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
    ) -> Tensor:
        """`LocalAttention` in float32, float16 or bfloat16, on a CUDA device.

        On the meta device it is only counted. Raises ValueError if it can't run; it never falls
        back to another backend.
        """
        try:
            from harmony_parts.kernels.local_cross_attention.op import (
                Tables,
                frames_read,
                latents_read,
            )
        except ImportError as error:
            raise ValueError(
                f'attention = "triton" needs Triton, which can\'t be imported ({error}): use'
                ' attention = "eager"'
            ) from error
        queries, keys = q.shape[2], k.shape[2]
        if queries >= keys:  # latents of the kernels: keys, each token of a frame on its own
            tables = Tables.of(windows.of_query, windows.of_key, windows.most_keys, keys)
            return frames_read(
                q, k.flatten(1, 2), v.flatten(1, 2), tables, q_angles, _each(k_angles, keys)
            )
        tables = Tables.of(windows.of_key, windows.of_query, windows.most_queries, queries)
        return latents_read(
            q.flatten(1, 2), k, v, tables, k_angles, _each(q_angles, queries)
        ).unflatten(1, (-1, queries))


def _each(x: Tensor, tokens: int) -> Tensor:
    """Rows per frame [T, ...] repeated for each of its tokens."""
    return x if tokens == 1 else x.repeat_interleave(tokens, 0)
