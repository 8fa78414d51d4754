"""The table `[published]` of a recipe: one model of another publisher, named once for all parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.errors import AssemblyError, HarmonyError

PUBLISHED = "published"
NAMES = ("model", "revision")


def name_published(table: dict[str, Any], parts: Catalogue) -> dict[str, Any]:
    """The recipe's table without `[published]`, whose `model` and `revision` its parts have got.

        [published]
        model = "owner/name"  # or a folder
        revision = "main"     # optional

    They go to codecs, encoders, denoiser and shifts that have such settings, but not to a part that
    names its own `model`, or has a `config` of random weights. Raises AssemblyError if the table
    has no model or other settings, or if no part takes it.
    """
    if PUBLISHED not in table:
        return table
    table = dict(table)
    published = table.pop(PUBLISHED)
    if (
        not isinstance(published, Mapping)
        or not set(published) <= set(NAMES)
        or not all(isinstance(value, str) for value in published.values())
        or not published.get("model")
    ):
        raise AssemblyError(
            f"$.{PUBLISHED}: expected `model`, a folder or the name of a repository on the Hugging"
            f" Face Hub, and optionally its `revision`, not {published!r}"
        )
    takers = [part for part in _parts(table) if _takes(*part, parts)]
    if not takers:
        raise AssemblyError(
            f"$.{PUBLISHED}: no part takes its weights from {published['model']!r}: they have no"
            " setting `model`, or name their own; set that of each part"
        )
    for _, holder, key in takers:
        own = holder[key] if isinstance(holder[key], Mapping) else {"use": holder[key]}
        holder[key] = {**own, **published}
    return table


def _parts(table: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(kind, holder, key) of each part that may have weights of a publisher; holders are copied."""
    if "denoiser" in table:
        yield "denoiser", table, "denoiser"
    for name, kinds in (
        ("codecs", {"video": "video_codec", "audio": "audio_codec"}),
        ("encoders", None),
        ("flow", {"shift": "shift"}),
        ("sample", {"shift": "shift"}),
    ):
        if not isinstance(table.get(name), Mapping):
            continue
        holder = table[name] = dict(table[name])
        for key, value in list(holder.items()):
            kind = "encoder" if kinds is None else kinds.get(key)
            if kind == "shift" and isinstance(value, Mapping) and "use" not in value:
                streams = holder[key] = dict(value)  # a shift for each stream
                yield from ((kind, streams, stream) for stream in list(streams))
            elif kind:
                yield kind, holder, key


def _takes(kind: str, holder: Mapping[str, Any], key: str, parts: Catalogue) -> bool:
    """Whether the part has the settings and doesn't set where its weights come from."""
    value = holder[key]
    own = value if isinstance(value, Mapping) else {"use": value}
    try:
        cls = parts.load(kind, own["use"])
    except (HarmonyError, KeyError, TypeError):  # reading the table reports them
        return False
    settings = {field.alias for field in attrs.fields(cls)} if attrs.has(cls) else set()
    return settings >= set(NAMES) and not own.get("model") and not own.get("config")
