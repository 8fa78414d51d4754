"""What a clip was generated from, stored in the clip's file and as JSON beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harmony_parts.assembly.declared import installed_version
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.generate.fields import FILES, NEGATIVES, NUMBERS, TEXTS
from harmony_parts.generate.request import Request
from harmony_parts.media.files import replace_text
from harmony_parts.models.external_weights import identify_model

WEIGHTS = ("codecs", "encoders", "denoiser", "sample")
"""The tables of a recipe whose parts may take something from a published model."""


def recipe_hash(recipe: Recipe) -> str:
    """16 hexadecimal digits, equal for recipes with equal settings, of any versions.

    Codecs are compared by their weights, and published models by their digest or commit, wherever
    these lie.
    """
    from harmony_parts.assembly.tables import unstructure
    from harmony_parts.models.codec_files import without_paths

    table = unstructure(without_paths(recipe))
    for part in list(_published(table)):
        known = identify_model(part["model"], part["revision"])
        part["model"], part["revision"] = known["model"], known.get("digest") or known.get("commit")
    settings = json.dumps(table, sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def published_models(recipe: Recipe) -> list[dict[str, str]]:
    """What identifies each published model that the recipe's parts take their weights from.

    See `identify_model`; in the order of the recipe's parts, each once.
    """
    from harmony_parts.assembly.tables import unstructure

    found: list[dict[str, str]] = []
    for part in _published(unstructure(recipe)):
        known = identify_model(part["model"], part["revision"])
        if known not in found:
            found.append(known)
    return found


def _published(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The tables of parts with a published model, but not with a random one of a `config`."""
    inner: list[Any] = [table.get(name) for name in WEIGHTS]
    while inner:
        each = inner.pop(0)
        if isinstance(each, dict):
            if each.get("model") and "revision" in each and not each.get("config"):
                yield each
            inner.extend(each.values())


def file_hash(path: Path) -> str:
    """16 hexadecimal digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def provenance_of(recipe: Recipe, weights: str, request: Request) -> dict[str, Any]:
    """Everything that determines a clip: version, model, request and sampling settings.

    `weights` is the hash of the model's weights. Files are named without their folder and hashed by
    content, so that the provenance is the same on another machine. Clips of equal provenance are
    equal, on the same machine.
    """
    from harmony_parts.assembly.tables import unstructure
    from harmony_parts.flow.stream_shifts import StreamShifts

    fields: dict[str, Any] = {}
    for name in (*TEXTS, *NEGATIVES, *FILES, *NUMBERS, "extra"):
        value = request.path(name) if name in FILES else getattr(request, name)
        if isinstance(value, Path):
            value = {"file": value.name, "sha256": file_hash(value)}
        if value or value == 0:  # none of a window made again is a choice, an empty text isn't
            fields[name] = value
    sampling = {
        "seed": request.seed,
        "steps": request.steps or recipe.sample.steps,
        "guidance": unstructure(request.guidance or recipe.sample.guidance, kind="guidance"),
    }
    for kind in ("solver", "shift"):
        if (part := getattr(request, kind)) is not None:
            one = not isinstance(part, StreamShifts)
            sampling[kind] = unstructure(part, kind=kind if one else None)
    model: dict[str, Any] = {"name": recipe.name, "recipe": recipe_hash(recipe), "weights": weights}
    if published := published_models(recipe):
        model["published"] = published
    return {"harmony_parts": installed_version(), "model": model, **fields, **sampling}


def container_metadata(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The provenance as metadata of a container: JSON in the comment, the prompt as the title."""
    title = next((provenance[name] for name in TEXTS if provenance.get(name)), "")
    comment = {"comment": json.dumps(provenance, ensure_ascii=False)}
    return comment | ({"title": title} if title else {})


def sidecar(clip: Path) -> Path:
    """The file of a clip's provenance: ball.mp4.json, since ball.wav may be another clip."""
    return clip.with_name(f"{clip.name}.json")


def write_sidecar(clip: Path, provenance: Mapping[str, Any]) -> None:
    """Write the provenance beside its clip; the file appears whole or not at all."""
    replace_text(sidecar(clip), json.dumps(provenance, indent=1, ensure_ascii=False) + "\n")


def read_sidecar(clip: Path) -> dict[str, Any] | None:
    """The provenance beside a clip, or None if it can't be read."""
    try:
        return dict(json.loads(sidecar(clip).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def differences(stored: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[str]:
    """The fields in which a stored provenance differs from another one."""
    wanted = json.loads(json.dumps(provenance))  # as it is read back: tuples become lists
    names = stored.keys() | wanted.keys()
    return sorted(name for name in names if stored.get(name) != wanted.get(name))


def is_up_to_date(clip: Path, provenance: Mapping[str, Any]) -> bool:
    """Whether the clip exists and has exactly this provenance."""
    stored = read_sidecar(clip) if clip.is_file() else None
    return stored is not None and not differences(stored, provenance)
