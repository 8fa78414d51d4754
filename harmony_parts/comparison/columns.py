"""The columns of a comparison, its guidances; and its metrics, which are chosen in the same way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch

from harmony_parts.assembly.overrides import apply_overrides
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.assembly.tables import structure, unstructure
from harmony_parts.av import STREAMS
from harmony_parts.denoisers.protocol import Denoiser
from harmony_parts.errors import PartContractError
from harmony_parts.generate.request import Request
from harmony_parts.guidance.demands import demands
from harmony_parts.guidance.protocol import Guidance, StepTimes
from harmony_parts.guidance.sum import Sum
from harmony_parts.metrics.protocol import Metric, MetricSpec
from harmony_parts.sample.pass_graph import checked_passes
from harmony_parts.sample.timetable import step_times

GUIDANCES, METRICS = ("none", "cfg", "modality", "sync-cfg"), ("events", "correlation")
NAME = re.compile("[A-Za-z0-9_-]+")
P = TypeVar("P")


def guidances(
    recipe: Recipe, words: Sequence[str] = (), with_text: bool = False
) -> dict[str, Guidance]:
    """The guidances to compare, by name.

    By default none, cfg, modality and sync-cfg, with the recipe's settings or else the defaults,
    and the recipe's own as `recipe` if it is another. With `words`, those that they name, and no
    others: "sync-cfg", "sync-cfg.audio=4" with a setting changed, "mine.use=apg" another part. A
    new name without `use` is that of a part. `with_text` adds cfg to guidances whose passes never
    drop the text. Raises AssemblyError for settings that make no guidance, ValueError for a name
    that can't be a folder's.
    """
    used = {
        part["use"]: part for part in _parts(unstructure(recipe.sample.guidance, kind="guidance"))
    }
    tables = {name: used.get(f"harmony/{name}", {"use": f"harmony/{name}"}) for name in GUIDANCES}
    # a table of its own: changing sync-cfg must not change the recipe's guidance
    tables["recipe"] = unstructure(recipe.sample.guidance, kind="guidance")
    parts, chosen = _chosen("guidance", words, tables, Guidance)  # type: ignore[type-abstract]
    columns: dict[str, Guidance] = {}
    for name in chosen:
        add = with_text and name != "recipe" and _without_text(parts[name])
        columns[f"cfg + {name}" if add else name] = (
            Sum((parts["cfg"], parts[name])) if add else parts[name]
        )
    own = columns.get("recipe")
    if not words and own in [each for name, each in columns.items() if name != "recipe"]:
        del columns["recipe"]
    return columns


def metrics(
    recipe: Recipe | None, words: Sequence[str] = (), device: torch.device | str = "cpu"
) -> dict[str, Metric]:
    """The metrics by name: the recipe's, else events and correlation; `words` as for guidances."""
    tables: dict[str, Any] = {}
    own = () if recipe is None else recipe.metrics
    for table in [unstructure(metric, kind="metric") for metric in own] or [
        {"use": f"harmony/{name}"} for name in METRICS
    ]:
        name = table["use"].rpartition("/")[2]
        tables[f"{name}-{len(tables) + 1}" if name in tables else name] = table
    parts, chosen = _chosen("metric", words, tables, MetricSpec)  # type: ignore[type-abstract]
    return {name: parts[name].build(device=device) for name in chosen}


def _chosen(
    what: str, words: Sequence[str], tables: Mapping[str, Any], cls: type[P]
) -> tuple[dict[str, P], list[str]]:
    """(all parts by name, the names that `words` name, or all without words)."""
    named = list(dict.fromkeys(re.split("[.=]", word)[0].strip() for word in words))
    if strange := [name for name in named if not NAME.fullmatch(name)]:
        raise ValueError(
            f"the {what} {strange[0]!r}: a name has only letters, digits, _ and -; for a plugin's"
            " part, write NAME.use=PLUGIN/PART"
        )
    known = {name: {"use": name} for name in named} | dict(tables)
    changed = apply_overrides(known, [word for word in words if "=" in word], dict[str, cls])  # type: ignore[valid-type]
    parts = {
        name: structure(table, cls, name=f"the {what} {name}") for name, table in changed.items()
    }
    if len({name.casefold() for name in parts}) < len(parts):
        raise ValueError(
            f"two names of a {what} differ only in upper and lower case, which not all file systems"
            f" distinguish: {', '.join(parts)}"
        )
    return parts, named or list(tables)


def _parts(table: Any) -> Iterator[Mapping[str, Any]]:
    """The tables of parts within a table, at any depth."""
    if isinstance(table, Mapping):
        if "use" in table:
            yield table
        table = list(table.values())
    for inner in table if isinstance(table, list) else ():
        yield from _parts(inner)


def _without_text(guidance: Guidance) -> bool:
    """Whether the guidance has several passes, and none of them drops a condition."""
    demanded = demands(guidance)
    return demanded.most > 1 and not any(each.drop for each in demanded.passes)


# --- what a guidance demands of a model -----------------------------------------------------------


def times_of(recipe: Recipe, request: Request) -> list[StepTimes]:
    """The times of the model's streams at each sampling step of a clip; 0 for a given stream."""
    streams = [stream for stream in STREAMS if getattr(recipe.codecs, stream) is not None]
    given = [stream for stream in streams if getattr(request, stream)]
    return step_times(request.steps or recipe.sample.steps, recipe.sample.shift, streams, given)


def passes(guidance: Guidance, recipe: Recipe, request: Request) -> int:
    """How many passes of the denoiser a clip takes, over all steps."""
    return demands(guidance, times=times_of(recipe, request)).count


def misfit(guidance: Guidance, denoiser: Denoiser, recipe: Recipe, request: Request) -> str:
    """Why the denoiser can't do what the guidance demands; empty if it can."""
    try:
        for times in times_of(recipe, request):
            checked_passes(guidance, times, None, hints=denoiser.hints, droppable=denoiser.accepts)
    except PartContractError as error:
        return str(error)
    return ""
