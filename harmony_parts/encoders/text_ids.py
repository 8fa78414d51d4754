"""What the text encoders share: text to ids, positions, and the form of a text condition.

A text is its UTF-8 bytes: no vocabulary file, every language, as in F5-TTS's `list_str_to_tensor`.
Id 0 is the filler, byte b is id b + 1. A text that is absent or empty is the one id [filler]; that
is the null form, and it doesn't depend on the other texts of the batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from harmony_parts.av import Condition

FILLER = 0
IDS = 257
_SAID: set[str] = set()  # warnings that were given


def ids_of(text: str | None, length: int) -> list[int]:
    """The ids of a text, at most `length`, cut between characters; half a surrogate pair, which
    UTF-8 can't say, is read as "?".
    """
    data = (text or "").encode("utf-8", errors="replace")
    if len(data) > length:
        data = data[:length].decode("utf-8", errors="ignore").encode("utf-8")
    return [byte + 1 for byte in data] or [FILLER]


def _warn(text: str, length: int, training: bool) -> None:
    """Of a text that is cut: once for each text where clips are made; once for each length in
    training, where many captions may be too long.
    """
    data = text.encode("utf-8", errors="replace")
    if len(data) <= length:
        return
    which = "texts are" if training else f"a text of {len(data)} bytes ({text[:40]!r} ...) is"
    said = (
        f"{which} longer than the {length} bytes that the encoder reads, and cut there; its setting"
        " `length` sets the limit"
    )
    # Not left to Python's own register: each use of `warnings.catch_warnings`, anywhere, empties
    # that.
    if said not in _SAID:
        _SAID.add(said)
        warnings.warn(said, UserWarning, stacklevel=3)


def pack(texts: Sequence[str | None], length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids int64 [B, L] and mask bool [B, L]; L is that of the longest text, not `length`: short
    texts make cheap steps.
    """
    rows = [ids_of(text, length) for text in texts]
    longest = max((len(row) for row in rows), default=1)
    ids = torch.tensor(
        [row + [FILLER] * (longest - len(row)) for row in rows], dtype=torch.long, device=device
    ).reshape(len(rows), longest)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long, device=device)
    return ids, torch.arange(longest, device=device) < lengths[:, None]


def positions(length: int, width: int) -> Tensor:
    """float32 [length, width]: [cos(p w_i), sin(p w_i)] with w_i = 10000^(-2i/width), as F5-TTS
    adds them; angles in float64.
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
) -> Condition:
    """The condition of B texts, with its null form, where `network` turns ids and mask [B, L] into
    tokens [B, L, D], 0 outside the mask.

    Warns of texts that are cut; `training` says that they are a data set's, and no one's request.
    """
    for text in texts:
        _warn(text or "", length, training)
    ids, mask = pack(texts, length, device)
    filler = network(*pack([None], 1, device))  # [1, 1, D]
    null_tokens = pad(filler, (0, 0, 0, mask.shape[1] - 1)).expand(len(texts), -1, -1)
    null_mask = (torch.arange(mask.shape[1], device=device) == 0).expand(len(texts), -1)
    # `where` makes an absent text bit for bit the null form, which rounding in a wider batch would
    # not.
    absent = ids[:, :1, None] == FILLER
    return Condition(
        null_tokens.where(absent, network(ids, mask)), mask, Condition(null_tokens, null_mask)
    )
