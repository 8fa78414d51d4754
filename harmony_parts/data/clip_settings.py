"""Settings that the data sets of recordings share."""

from __future__ import annotations

from typing import Any

import attrs

from harmony_parts.av import STREAMS
from harmony_parts.plugin import default_part, knob

EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
SOUNDS = (".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav")


def extensions_knob() -> Any:
    """Which files are recordings."""
    return knob(
        EXTENSIONS,
        help=(
            "suffixes of the files to use without a manifest; a data set of sound alone uses those"
            " of sound files too"
        ),
        converter=lambda names: tuple("." + name.lower().removeprefix(".") for name in names),
        validator=attrs.validators.min_len(1),
    )


def suffixes(extensions: tuple[str, ...], streams: tuple[str, ...]) -> tuple[str, ...]:
    """`extensions`, with those of sound files if they are the default and only sound is read."""
    if "video" not in streams and extensions == EXTENSIONS:
        return (*EXTENSIONS, *SOUNDS)
    return extensions


def streams_knob() -> Any:
    """What is read of a recording."""
    return knob(
        STREAMS,
        help='what is read of each file, which must have it: ["audio"] for stages of audio alone',
        converter=tuple,
        validator=[
            attrs.validators.min_len(1),
            attrs.validators.deep_iterable(attrs.validators.in_(STREAMS)),
        ],
    )


def reference_knob() -> Any:
    """Where the reference voice comes from."""
    return knob(
        default_part("harmony_parts.references.own_cut:OwnCut"),
        help="where the voice of a clip is cut from",
        source="Harmony, arXiv:2511.21579, stage 1",
    )


def memory_knob() -> Any:
    """The memory for decoded recordings."""
    return knob(
        1024.0,
        help="memory for decoded files; the least recently used are dropped first",
        unit="MB (10^6 bytes)",
        off=0.0,
        validator=attrs.validators.ge(0),
    )
