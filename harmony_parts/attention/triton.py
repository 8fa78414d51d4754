"""Local cross-attention by Triton kernels: the side with more tokens per frame is read once, the other side's window stays on the chip."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import attrs
from torch import Tensor

from harmony_parts.attention.protocol import Windows

if TYPE_CHECKING:
    from harmony_parts.kernels.local_cross_attention.op import Tables

# Windows are the same for all layers of a model, and making their tables waits for the device.
_MADE: WeakKeyDictionary[Windows, dict[tuple[int, int, bool], Tables]] = WeakKeyDictionary()


@attrs.frozen
class Triton:
    """No settings."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor) -> Tensor:
        """See `LocalAttention`. float32, float16 or bfloat16 on a CUDA device; ValueError, not another backend, where it can't run."""
        try:
            from harmony_parts.kernels.local_cross_attention.op import frames_read, latents_read
        except ImportError as error:
            raise ValueError(f'Triton can\'t be imported ({error}), and attention = "triton" needs it: use attention = "eager"') from error
        queries, keys = q.shape[2], k.shape[2]
        if queries >= keys:  # rows of the window: keys, each token of a frame on its own
            tables = _tables(windows, keys, k.shape[1], True)
            return frames_read(q, k.flatten(1, 2), v.flatten(1, 2), tables, q_angles, k_angles.repeat_interleave(keys, 0))
        tables = _tables(windows, queries, k.shape[1], False)
        out = latents_read(q.flatten(1, 2), k, v, tables, k_angles, q_angles.repeat_interleave(queries, 0))
        return out.unflatten(1, (-1, queries))


def _tables(windows: Windows, repeats: int, keys: int, queries_are_frames: bool) -> Tables:
    """Tables of windows whose latents hold `repeats` tokens each: made once for as long as the windows live."""
    from harmony_parts.kernels.local_cross_attention.op import Tables

    made = _MADE.setdefault(windows, {})
    at = (repeats, keys, queries_are_frames)
    if at not in made:
        if queries_are_frames:
            made[at] = Tables.of(windows.start * repeats, windows.end * repeats, keys * repeats, frames=True)
        else:
            made[at] = Tables.of(windows.start.repeat_interleave(repeats), windows.end.repeat_interleave(repeats), keys, frames=False)
    return made[at]
