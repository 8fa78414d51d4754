"""The fields of a request: what each of them can be, and its value from text.

Importing this module imports no torch.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_parts.errors import RequestError
from harmony_parts.generate.generated import Generated
from harmony_parts.media.probe import file_fault

if TYPE_CHECKING:
    from harmony_parts.av import Picture
    from harmony_parts.media.clip import Clip

    Image = Clip | Generated | str | os.PathLike[str] | Picture
    Media = Clip | Generated | str | os.PathLike[str]

TEXTS = ("prompt", "sound", "speech")
NEGATIVES = ("negative", "negative_sound")
FILES = ("image", "voice", "audio", "video", "begin", "draft")
NUMBERS = ("seconds", "overlap", "remake", "strength")
MAX_SEED = 2**63 - 1  # torch.Generator takes 64 bits, signed


def field_fault(name: str, value: Any) -> str:
    """Why the field `name` of a request can't have this value; empty if it can."""
    if value is None and name != "seed":
        return ""
    is_valid, expected = _RULES[name]
    if not is_valid(value):
        return f"{name} must be {expected}, not {value!r:.80}"
    if (
        name in FILES
        and isinstance(value, str | os.PathLike)
        and (fault := file_fault(Path(value)))
    ):
        return f"{name}: {os.fspath(value)}: {fault}"
    return ""


def check_fields(**fields: Any) -> None:
    """Raise RequestError, with a sentence for each fault, if a field can't have its value."""
    refuse([fault for name, value in fields.items() if (fault := field_fault(name, value))])


def from_text(name: str, text: str) -> Any:
    """A field's value from the text of an option or a table's cell.

    Text that can't be converted is returned unchanged, so that `field_fault` refuses it.
    """
    kinds: dict[str, tuple[Callable[[str], Any], ...]] = {
        **dict.fromkeys(NUMBERS, (int, float)),
        "steps": (int, float),
        "seed": (int, float),
        "extra": (json.loads,),
    }
    for kind in kinds.get(name, ()):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def refuse(faults: Collection[str]) -> None:
    """Raise RequestError with all faults, if there are some."""
    if faults:
        raise RequestError("; ".join(faults))


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _is_length(value: Any) -> bool:
    return _is_finite(value) and value > 0


def is_media(value: Any) -> bool:
    """Whether it is a clip or names a file."""
    if isinstance(value, str | os.PathLike | Generated):
        return True
    from harmony_parts.media.clip import Clip

    return isinstance(value, Clip)


def _is_image(value: Any) -> bool:
    if is_media(value):
        return True
    from torch import Tensor

    from harmony_parts.av import as_tensor

    try:
        return isinstance(as_tensor(value), Tensor)
    except TypeError:  # an array of what torch has no type for
        return False


def _is_part(method: str) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, type) and hasattr(value, method)


def _is_shift(value: Any) -> bool:
    if _is_part("__call__")(value):
        return True
    from harmony_parts.flow.stream_shifts import StreamShifts

    return isinstance(value, StreamShifts)


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        (*TEXTS, *NEGATIVES), (lambda value: isinstance(value, str), "a single string")
    ),
    **dict.fromkeys(FILES, (is_media, "a file or a Clip")),
    "image": (_is_image, "a file, a Clip or a picture (PIL, array, tensor)"),
    **dict.fromkeys(("seconds", "overlap"), (_is_length, "a finite number above 0")),
    "remake": (lambda value: _is_finite(value) and value >= 0, "a finite number of at least 0"),
    "strength": (lambda value: _is_length(value) and value <= 1, "a number above 0 and up to 1"),
    "extra": (lambda value: isinstance(value, Mapping), "a mapping (in JSON, an object)"),
    "seed": (
        lambda value: _is_whole(value) and 0 <= value <= MAX_SEED,
        "a whole number from 0 to 2**63 - 1",
    ),
    **dict.fromkeys(
        ("steps", "batch"),
        (lambda value: _is_whole(value) and value >= 1, "a whole number of at least 1"),
    ),
    "guidance": (_is_part("combine"), "a part, such as SyncCFG(video=3, audio=2)"),
    "solver": (_is_part("step"), "a part, such as Heun()"),
    "shift": (_is_shift, "a part, such as ConstantShift(5), or StreamShifts(video, audio)"),
}
