"""The columns of a comparison: its guidances. And, chosen by the same words, its metrics."""

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
from harmony_parts.guidance.demands import demands
from harmony_parts.guidance.protocol import Guidance, StepTimes
from harmony_parts.guidance.sum import Sum
from harmony_parts.metrics.protocol import Metric, MetricSpec
from harmony_parts.sample.pass_graph import checked_passes
from harmony_parts.sample.timetable import timetable

GUIDANCES, METRICS = ("none", "cfg", "modality", "sync-cfg"), ("events", "correlation")
NAME = re.compile("[A-Za-z0-9_-]+")
P = TypeVar("P")


def guidances(
    recipe: Recipe, words: Sequence[str] = (), with_text: bool = False
) -> dict[str, Guidance]:
    """The guidances that are compared, by name: none, cfg, modality and sync-cfg as the recipe has
    them, else as their parts' defaults are; the recipe's own, `recipe`, where it is none of these;
    and what `words` say.

    "mine.use=apg" adds one, "mine.scale=2" changes a setting, and "mine" alone says that only those
    are compared that are named so, or added; a name that isn't there yet is that of a part.
    `with_text` adds cfg to those whose passes leave no text out. Raises AssemblyError for what
    makes no guidance, ValueError for a name that can't be a folder's.
    """
    used = {
        part["use"]: part for part in _parts(unstructure(recipe.sample.guidance, kind="guidance"))
    }
    tables = {name: used.get(f"harmony/{name}", {"use": f"harmony/{name}"}) for name in GUIDANCES}
    # anew: a change of sync-cfg is none of what the recipe has
    tables["recipe"] = unstructure(recipe.sample.guidance, kind="guidance")
    made, chosen = _chosen("guidance", words, tables, Guidance)  # type: ignore[type-abstract]
    found: dict[str, Guidance] = {}
    for name in chosen:
        add = with_text and name != "recipe" and _without_text(made[name])
        found[f"cfg + {name}" if add else name] = (
            Sum((made["cfg"], made[name])) if add else made[name]
        )
    if "recipe" not in words and any(
        name != "recipe" and guidance == found.get("recipe") for name, guidance in found.items()
    ):
        del found["recipe"]
    return found


def metrics(
    recipe: Recipe, words: Sequence[str] = (), device: torch.device | str = "cpu"
) -> dict[str, Metric]:
    """What clips are measured by: the recipe's metrics, else events and correlation, chosen and
    changed as guidances are.
    """
    tables: dict[str, Any] = {}
    for table in [unstructure(metric, kind="metric") for metric in recipe.metrics] or [
        {"use": f"harmony/{name}"} for name in METRICS
    ]:
        name = table["use"].rpartition("/")[2]
        tables[f"{name}-{len(tables) + 1}" if name in tables else name] = table
    made, chosen = _chosen("metric", words, tables, MetricSpec)  # type: ignore[type-abstract]
    return {name: made[name].build(device=device) for name in chosen}


def _chosen(
    what: str, words: Sequence[str], tables: Mapping[str, Any], cls: type[P]
) -> tuple[dict[str, P], list[str]]:
    """Parts by name, and the names of those that are wanted."""
    named = list(dict.fromkeys(re.split("[.=]", word)[0].strip() for word in words))
    if strange := [name for name in named if not NAME.fullmatch(name)]:
        raise ValueError(
            f"--{what} {strange[0]!r} is no name for one; letters, digits, _ and - are. A plugin's:"
            " NAME.use=PLUGIN/PART"
        )
    wanted = [word.strip() for word in words if "=" not in word]
    known = {name: {"use": name} for name in named} | dict(tables)
    changed = apply_overrides(known, [word for word in words if "=" in word], dict[str, cls])  # type: ignore[valid-type]
    made = {
        name: structure(table, cls, where=f"the {what} {name}") for name, table in changed.items()
    }
    if len({name.casefold() for name in made}) < len(made):
        raise ValueError(
            f"--{what}: two names differ in upper and lower case alone, which not all file systems"
            f" tell apart: {', '.join(made)}"
        )
    if wanted:
        return made, [name for name in named if name in wanted or name not in tables]
    return made, [*tables, *(name for name in named if name not in tables)]


def _parts(table: Any) -> Iterator[Mapping[str, Any]]:
    """The tables of parts in a table, at any depth."""
    if isinstance(table, Mapping):
        if "use" in table:
            yield table
        table = list(table.values())
    for inner in table if isinstance(table, list) else ():
        yield from _parts(inner)


def _without_text(guidance: Guidance) -> bool:
    """Whether it guides, and none of its passes drops a condition."""
    requested = demands(guidance)
    return requested.most > 1 and not any(each.drop for each in requested.passes)


# --- what a guidance asks of a model --------------------------------------------------------------


def walked(recipe: Recipe, asked: Mapping[str, Any]) -> Iterator[StepTimes]:
    """The times of the streams at each step of a clip; `asked` as for `Pipeline.generate`."""
    streams = [stream for stream in STREAMS if getattr(recipe.codecs, stream) is not None]
    for t in timetable(asked["steps"] or recipe.sample.steps, recipe.sample.shift)[:-1]:
        yield StepTimes(**{stream: 0.0 if asked[stream] else t for stream in streams})


def passes(guidance: Guidance, recipe: Recipe, asked: Mapping[str, Any]) -> int:
    """The passes that a clip takes, over all steps."""
    return demands(guidance, times=walked(recipe, asked)).count


def unfit(guidance: Guidance, denoiser: Denoiser, recipe: Recipe, asked: Mapping[str, Any]) -> str:
    """Why the denoiser can't do what the guidance asks of it; nothing where it can."""
    try:
        for times in walked(recipe, asked):
            checked_passes(guidance, times, None, hints=denoiser.hints, droppable=denoiser.accepts)
    except PartContractError as error:
        return str(error)
    return ""
