"""Byte ids, positions, and text conditions, shared by the text encoders.

A text is its UTF-8 bytes: no vocabulary file, any language, as in F5-TTS's `list_str_to_tensor`.
Id 0 is the filler, byte b is id b + 1. An absent or empty text is the single id [filler]; that is
the null form, and it doesn't depend on the other texts of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from harmony_parts.av import Condition
from harmony_parts.errors import warn_caller

FILLER = 0
IDS = 257
_WARNED: set[str] = set()  # messages of warnings already given


def ids_of(text: str | None, length: int) -> list[int]:
    """The ids of a text, at most `length`, cut between characters.

    Half a surrogate pair, which UTF-8 can't encode, becomes "?".
    """
    data = (text or "").encode("utf-8", errors="replace")
    if len(data) > length:
        data = data[:length].decode("utf-8", errors="ignore").encode("utf-8")
    return [byte + 1 for byte in data] or [FILLER]


def byte_count(text: str) -> int:
    """The length of a text in UTF-8."""
    return len(text.encode("utf-8", errors="replace"))


def _warn(text: str, size: int, length: int, unit: str, training: bool) -> None:
    """Warn that a text is cut: once per text in generation, once per `length` in training."""
    if size <= length:
        return
    which = "texts are" if training else f"a text of {size} {unit} ({text[:40]!r} ...) is"
    message = (
        f"{which} longer than the {length} {unit} that the encoder reads, and cut there; raise its"
        " setting `length` to read more"
    )
    # Python's own register isn't enough: every `warnings.catch_warnings` clears it.
    if message not in _WARNED:
        _WARNED.add(message)
        warn_caller(message)


def pack(rows: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids int64 [B, L] and mask bool [B, L] of B texts, given as the ids of each.

    L is that of the longest text, not the longest that is possible: short texts make cheap steps.
    """
    longest = max((len(row) for row in rows), default=1)
    ids = torch.tensor(
        [row + [FILLER] * (longest - len(row)) for row in rows], dtype=torch.long, device=device
    ).reshape(len(rows), longest)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long, device=device)
    return ids, torch.arange(longest, device=device) < lengths[:, None]


def positions(length: int, width: int) -> Tensor:
    """float32 [length, width]: [cos(p w_i), sin(p w_i)], w_i = 10000^(-2i/width), as in F5-TTS.

    Angles are computed in float64.
    """
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def text_condition(
    texts: Sequence[str | None],
    length: int,
    device: torch.device,
    network: Callable[[Tensor, Tensor], Tensor],
    *,
    training: bool,
    to_ids: Callable[[str | None, int], list[int]] = ids_of,
    size: Callable[[str], int] = byte_count,
    unit: str = "bytes",
) -> Condition:
    """The condition of B texts, with its null form.

    `network` maps ids and mask [B, L] to tokens [B, L, D], 0 outside the mask. `to_ids` gives the
    ids of a text, which it cuts at `length`, and `size` a text's length, both in `unit`. Warns of
    texts that are cut, in training only once.
    """
    for text in texts:
        _warn(text or "", size(text or ""), length, unit, training)
    ids, mask = pack([to_ids(text, length) for text in texts], device)
    filler = network(*pack([[FILLER]], device))  # [1, 1, D]
    null_tokens = pad(filler, (0, 0, 0, mask.shape[1] - 1)).expand(len(texts), -1, -1)
    null_mask = (torch.arange(mask.shape[1], device=device) == 0).expand(len(texts), -1)
    # `where` makes an absent text bitwise equal to the null form; rounding in a wider batch
    # wouldn't.
    absent = ids[:, :1, None] == FILLER
    return Condition(
        null_tokens.where(absent, network(ids, mask)), mask, Condition(null_tokens, null_mask)
    )
