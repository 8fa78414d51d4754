"""The results of `make gpu` as one JSON and as tables: `gpu_report out/gpu [TARGET]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harmony_parts.benchmarks.gpu import read_lines


def gathered(out: Path) -> dict[str, Any]:
    """All results of a folder: the last state of each item, all figures, the reports as they are.

    A figure that was measured again replaces the one before.
    """
    lines = read_lines(out)
    states = {
        line["item"]: {key: line[key] for key in ("rc", "seconds", "skipped") if key in line}
        for line in sorted((x for x in lines if "item" in x), key=lambda x: x.get("rc") == 0)
    }
    figures = {}
    for line in lines:
        if "figure" in line:
            figures[tuple(line.get(key) for key in KEYS)] = line
    reports = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(out.glob("*.json"))
    }
    return {"items": states, "figures": list(figures.values()), "reports": reports}


KEYS = ("figure", "direction", "kernel", "reach", "tile", "warps", "stages", "split")


def tables(report: Mapping[str, Any]) -> str:
    """Markdown: the items, and the kernels' settings, the fastest of each kernel first."""
    states = [[name, _state(state)] for name, state in report["items"].items()]
    settings = [x for x in report["figures"] if x["figure"] == "setting"]
    settings.sort(key=lambda x: (x["kernel"], x["reach"], x.get("ms", float("inf"))))
    rows = [
        [
            x["kernel"],
            f"{x['reach']} s",
            f"{x['tile']}, {x['warps']}, {x['stages']}, {x['split']}",
            *([f"{x['ms']:.3f}", f"{x['of_copy']:.0%}"] if x["ok"] else [x["error"], ""]),
            "" if x.get("same", True) else "wrong result",
        ]
        for x in settings
    ]
    head = ["kernel", "windows", "tile, warps, stages, split", "ms", "of copy", ""]
    return "\n".join(
        [*_table(["item", "result"], states), *([*_table(head, rows)] if rows else [])]
    )


def _state(state: Mapping[str, Any]) -> str:
    if "skipped" in state:
        return f"skipped: {state['skipped']}"
    outcome = "good" if state["rc"] == 0 else f"failed ({state['rc']})"
    return f"{outcome}, {state['seconds']} s"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def main(out: str, target: str = "docs/results/gpu.json") -> None:
    """Write the JSON, and print the tables for docs/gpu.md."""
    report = gathered(Path(out))
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(tables(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
