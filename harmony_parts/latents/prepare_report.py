"""What a preparation kept, and what it dropped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SHOWN = 100  # names of unreadable recordings in the report; the shards' lines have all


def prepare_report(lines: Sequence[Mapping[str, Any]], filters: Sequence[str]) -> dict[str, Any]:
    """Counts by cause, from the lines of all shards; `filters` are the names of the parts.

    For each filter: how many clips it judged, how many it would drop by itself, and for those
    that judge both streams, how many of the re-paired clips (the picture of one with the sound of
    the clip before it): a filter that drops as many by chance measures nothing.
    """
    dropped = [line for line in lines if not line["kept"]]
    unreadable = [line for line in dropped if line["by"] == "unreadable"]
    kept = [line for line in lines if line["kept"]]
    reasons = [line["why"] for line in dropped if line["by"].startswith("filter")]
    return {
        "recordings": len(lines),
        "kept": len(kept),
        "seconds": round(sum(line["seconds"] for line in kept), 3),
        "unreadable": len(unreadable),
        "duplicates": sum(line["by"] == "duplicate" for line in dropped),
        "reasons": dict(Counter(reasons).most_common()),
        "filters": [_filter(k, name, lines) for k, name in enumerate(filters)],
        "unreadable_names": {line["name"]: line["why"] for line in unreadable[:SHOWN]},
    }


def _filter(k: int, name: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    judged = [line["filters"][k] for line in lines if "filters" in line]
    chance = [line["chance"][str(k)] for line in lines if str(k) in line.get("chance", {})]
    found: dict[str, Any] = {"use": name, "judged": len(judged), "dropped": judged.count(False)}
    if chance:
        found |= {"repaired": len(chance), "dropped_by_chance": chance.count(False)}
    return found


def report_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report for people."""
    hours = report["seconds"] / 3600
    length = f"{hours:.1f} h" if hours >= 1 else f"{report['seconds']:.0f} s"
    yield f"{report['kept']:,} of {report['recordings']:,} recordings kept, {length}"
    if report["duplicates"]:
        yield f"  {report['duplicates']:,} repeat the content of another"
    if report["unreadable"]:
        yield f"  {report['unreadable']:,} can't be read:"
        yield from (f"    {cause}" for cause in list(report["unreadable_names"].values())[:5])
    for each in report["filters"]:
        line = f"  {each['use']} drops {each['dropped']:,} of {each['judged']:,}"
        if "repaired" in each:
            share = each["dropped_by_chance"] / each["repaired"]
            line += (
                f" ({each['dropped'] / max(1, each['judged']):.0%}); of clips with the sound of"
                f" another, {share:.0%}"
            )
        yield line
    for why, count in report["reasons"].items():
        yield f"    {count:,}: {why}"
