"""The results of `make gpu` as one JSON and as tables: `gpu_report out/gpu [TARGET]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harmony_parts.benchmarks.gpu_results import RESULTS, read_lines

Lines = Sequence[Mapping[str, Any]]
KEYS = (
    "figure", "direction", "kernel", "reach", "tile", "warps", "stages", "split", "what", "clips",
    "frames",
)  # fmt: skip
"""What a figure is about: the same again replaces the one before."""


def gathered(out: Path) -> dict[str, Any]:
    """All results of a folder: the last state of each item, all figures, the reports as they are.

    A figure that was measured again replaces the one before.
    """
    lines = read_lines(out / RESULTS)
    states = {
        line["item"]: {key: line[key] for key in ("rc", "seconds", "skipped") if key in line}
        for line in sorted((x for x in lines if "item" in x), key=lambda x: x.get("rc") == 0)
    }
    figures = {tuple(x.get(key) for key in KEYS): x for x in lines if "figure" in x}
    reports: dict[str, Any] = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(out.glob("*.json"))
    }
    for file in sorted(out.glob("*.jsonl")):
        if file.name != RESULTS:
            reports[file.stem] = read_lines(file)
    return {"items": states, "figures": list(figures.values()), "reports": reports}


def tables(report: Mapping[str, Any]) -> str:
    """Markdown: items, figures of the tasks, kernels' settings (fastest first), and all reports."""
    figures = report["figures"]
    items = [[name, _state(state)] for name, state in report["items"].items()]
    return "\n".join(
        [
            *_table(["item", "result"], items),
            *_table(["figure", "result"], [_figure(x) for x in figures if x["figure"] in PLAIN]),
            *_table(SETTING, _settings([x for x in figures if x["figure"] == "setting"])),
            *_table(["passes of CFG", "apart", "together"], _batches(figures)),
            *_table(["profile", "calls", "ms", "share"], _kernels(figures)),
            *_table(MODEL, _models(report["reports"])),
            *_table(LOCAL, _local(report["reports"])),
            *_table(["tests", "figures"], _steps(report["reports"])),
        ]
    )


PLAIN = ("machine", "copy", "kernels", "training", "clip")
SETTING = ["kernel", "windows", "tile, warps, stages, split", "ms", "of copy", ""]
MODEL = ["model", "what", "s", "on the host, s", "of matmul", "peak, predicted, GB"]
LOCAL = [
    "local attention",
    "what",
    "forward, ms (host)",
    "of copy",
    "backward, ms (host)",
    "of copy",
]


def _figure(line: Mapping[str, Any]) -> list[str]:
    about = ", ".join([line["figure"], *([line["direction"]] if "direction" in line else [])])
    shown = {k: v for k, v in line.items() if k not in ("figure", "direction", "ok")}
    return [about, ", ".join(f"{name}: {_short(value)}" for name, value in shown.items())]


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_short, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _settings(found: Lines) -> list[list[str]]:
    return [
        [
            x["kernel"],
            f"{x['reach']} s",
            f"{x['tile']}, {x['warps']}, {x['stages']}, {x['split']}",
            *([f"{x['ms']:.3f}", f"{x['of_copy']:.0%}"] if x["ok"] else [x["error"], ""]),
            "" if x.get("same", True) else "wrong result",
        ]
        for x in sorted(found, key=lambda x: (x["kernel"], x["reach"], x.get("ms", float("inf"))))
    ]


def _batches(figures: Lines) -> list[list[str]]:
    return [
        [f"{x['latents']} latents", f"{x['apart_ms']:.2f} ms", f"{x['together_ms']:.2f} ms"]
        for x in figures
        if x["figure"] == "together" and x["ok"]
    ]


def _kernels(figures: Lines) -> list[list[str]]:
    return [
        [f"{x['what']}: {name}", str(count), f"{ms:.3f}", f"{ms / x['ms']:.0%}"]
        for x in figures
        if x["figure"] == "profile" and x["ok"]
        for name, count, ms in x["kernels"]
    ]


def _models(reports: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            name + _unfinished(report),
            f"{x['what']}, {x['layers']} layers",
            _ms(x["seconds"], 1),
            _ms(x["host_seconds"], 1),
            f"{x['of_matmul']:.0%}",
            f"{(x['peak_bytes'] or 0) / 1e9:.3g}, {x['predicted_bytes'] / 1e9:.3g}",
        ]
        for name, report in reports.items()
        if "matmul_flops_per_second" in report
        for x in report["results"]
        if x["seconds"]
    ]


def _local(reports: Mapping[str, Any]) -> list[list[str]]:
    found = []
    for name, report in reports.items():
        if "copy_bytes_per_second" not in report:
            continue
        for row in report["rows"]:
            cells = [name + _unfinished(report), f"{row['shape']}, {row['direction']}: "]
            cells[1] += row["name"] + (f" ({row['fault']})" if row["fault"] else "")
            for way in ("forward", "backward"):
                times, copy = row[way], report["copy_bytes_per_second"]
                share = row[way + "_bytes"] / times["median"] / copy if times else 0
                both = f"{_ms(times)} ({_ms(row[way + '_host'])})" if times else ""
                cells += [both, f"{share:.0%}" if times else ""]
            found.append(cells)
    return found


def _steps(reports: Mapping[str, Any]) -> list[list[str]]:
    return [
        [str(line.get("recipe")), ", ".join(f"{k}: {_short(v)}" for k, v in line.items()
                                            if k not in ("recipe", "versions"))]
        for report in reports.values()
        if isinstance(report, list)
        for line in report
    ]  # fmt: skip


def _unfinished(report: Mapping[str, Any]) -> str:
    return " (cut)" if report.get("unfinished") else ""


def _ms(times: Mapping[str, float] | None, scale: float = 1e3) -> str:
    return f"{times['median'] * scale:.3g}" if times else ""


def _state(state: Mapping[str, Any]) -> str:
    if "skipped" in state:
        return f"skipped: {state['skipped']}"
    outcome = "good" if state["rc"] == 0 else f"failed ({state['rc']})"
    return f"{outcome}, {state['seconds']} s"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Nothing without rows."""
    lines = [head, ["---"] * len(head), *rows] if rows else []
    return [*(f"| {' | '.join(line)} |" for line in lines), *([""] if rows else [])]


def main(out: str, target: str = "docs/results/gpu.json") -> None:
    """Write the JSON, and print the tables for docs/gpu.md."""
    report = gathered(Path(out))
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(tables(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
