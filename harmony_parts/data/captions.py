"""Texts of clips that lie beside them, in the files that other trainers read too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harmony_parts.data.clip_set import Entry
from harmony_parts.errors import MediaError

CAPTIONS = (".txt", ".caption")
KEYS = (("caption", "what", "prompt", "text"), ("sound",), ("transcript", "speech"), ("speaker",))
"""Keys of a NAME.json, by the texts of an entry; the first that is there counts."""
SHOWN = 3  # names in a warning


Texts = tuple[str | None, str | None, str | None, str | None]
"""Caption, sound, speech, speaker."""


def texts_beside(clip: Path) -> Texts:
    """(caption, sound, speech, speaker) from the files beside a clip; line breaks become spaces.

    Raises MediaError, naming the file, if one can't be read as UTF-8 or JSON.
    """
    return texts_of(
        lambda suffix: _read(clip.with_suffix(suffix)),
        lambda suffix: str(clip.with_suffix(suffix)),
    )


def texts_of(content: Callable[[str], bytes | None], name: Callable[[str], str]) -> Texts:
    """(caption, sound, speech, speaker) from the content of the files beside a clip.

    `content` gives that of the suffixes .json and CAPTIONS, `name` the file's name for a message.
    Raises MediaError as `texts_beside` does.
    """
    found = _from_json(_decoded(content(".json"), name(".json")), name(".json"))
    caption, sound, speech, speaker = found
    for suffix in reversed(CAPTIONS):
        caption = _words(_decoded(content(suffix), name(suffix))) or caption
    return caption, sound, speech, speaker


def text_warnings(entries: Sequence[Entry], manifest: Path | None) -> Iterator[str]:
    """Lines about clips without texts, and about texts that a manifest leaves unused."""
    if manifest is not None:
        unused = [
            entry.name
            for entry in entries
            if any(entry.path.with_suffix(suffix).is_file() for suffix in (*CAPTIONS, ".json"))
        ]
        if unused:
            yield (
                f"{manifest} gives the texts, so files of texts beside {len(unused)} clips aren't"
                f' read ({_some(unused)}); $.data.manifest = "" reads those instead'
            )
    silent = [e.name for e in entries if not (e.caption or e.sound or e.speech)]
    if silent:
        where = (
            "NAME.txt beside each, or manifest.csv, gives them"
            if manifest is None
            else "its columns caption, sound and transcript give them"
        )
        yield (
            f"{len(silent)} of {len(entries)} clips have no caption ({_some(silent)}): a model"
            f" learns no prompts from them; {where}"
        )


def _from_json(text: str | None, file: str) -> list[str | None]:
    if text is None:
        return [None] * len(KEYS)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise MediaError(f"{file}: isn't JSON: {error}") from error
    if isinstance(content, str):
        return [_words(content), *[None] * (len(KEYS) - 1)]
    if not isinstance(content, dict):
        raise MediaError(f"{file}: must be an object with the keys caption, sound, transcript")
    found = [
        next((t for key in keys if isinstance(t := content.get(key), str)), None) for keys in KEYS
    ]
    return [_words(text) for text in found]


def _read(file: Path) -> bytes | None:
    if not file.is_file():
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise MediaError(f"{file}: can't be read: {error.strerror}") from error


def _decoded(content: bytes | None, file: str) -> str | None:
    try:
        return None if content is None else content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MediaError(f"{file}: isn't text in UTF-8: {error}; save it as UTF-8") from error


def _words(text: str | None) -> str | None:
    return " ".join((text or "").split()) or None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
