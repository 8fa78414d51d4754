"""What a clip was made from: noted inside the file, and beside it as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harmony_parts.assembly.declared import installed_version
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.media.files import replace_text

FILES = ("image", "voice", "audio", "video")


def recipe_hash(recipe: Recipe) -> str:
    """16 hexadecimal digits that two recipes share where all of their settings are the same;
    versions don't count.
    """
    from harmony_parts.assembly.tables import unstructure

    return hashlib.sha256(json.dumps(unstructure(recipe), sort_keys=True).encode()).hexdigest()[:16]


def digest(path: Path) -> str:
    """16 hexadecimal digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def note(recipe: Recipe, weights: str, asked: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """Everything that decides what a clip shows. `weights`: their digest; `asked` as for
    `Pipeline.generate`; `settings`: seed, steps, guidance.

    Files are noted by name and content, so that a note made elsewhere is the same. Clips of equal
    notes are equal, on the same machine.
    """
    said = {
        name: {"file": value.name, "sha256": digest(value)} if name in FILES else value
        for name, value in asked.items()
        if value
    }
    model = {"name": recipe.name, "recipe": recipe_hash(recipe), "weights": weights}
    return {"harmony_parts": installed_version(), "model": model, **said, **settings}


def embedded(noted: Mapping[str, Any]) -> dict[str, str]:
    """The note as a container's metadata: all of it as JSON in the comment, the prompt as the
    title.
    """
    title = next((noted[name] for name in ("prompt", "sound", "speech") if noted.get(name)), "")
    return {"comment": json.dumps(noted, ensure_ascii=False), **({"title": title} if title else {})}


def beside(clip: Path) -> Path:
    """Where the note of a clip is: ball.mp4 -> ball.mp4.json, since ball.wav may be another
    clip.
    """
    return clip.with_name(f"{clip.name}.json")


def write(clip: Path, noted: Mapping[str, Any]) -> None:
    """Put the note beside its clip, whole or not at all."""
    replace_text(beside(clip), json.dumps(noted, indent=1, ensure_ascii=False) + "\n")


def made(clip: Path, noted: Mapping[str, Any]) -> bool:
    """Whether the clip is there, made from just this."""
    try:
        return clip.is_file() and json.loads(
            beside(clip).read_text(encoding="utf-8")
        ) == json.loads(json.dumps(noted))
    except (OSError, ValueError):
        return False
