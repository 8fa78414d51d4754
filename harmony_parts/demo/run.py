"""The demo: clips of a finished model, to look at and to listen to, in a minute or two."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from harmony_parts.demo.cases import chosen
from harmony_parts.demo.make import Shown, make, one_thread, seeded
from harmony_parts.demo.page import write_page
from harmony_parts.demo.sheet import write_sheet
from harmony_parts.generate.checks import resolve_model
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.ffmpeg import check_encoders
from harmony_parts.models.folder import CARD, find_model
from harmony_parts.report.progress import console as terminal
from harmony_parts.report.text import duration, quantity

MODEL = "harmony-tiny"
JOINT, DRIVEN, SPOKEN, CONTINUED = 2, 2, 1, 1  # cases: of each set, of each direction, and in all


def demo(
    out: Path, model: str = MODEL, seed: int = 0, console: Console | None = None
) -> dict[str, Any]:
    """Generate the demo's clips into the folder `out`; return its report, also `out`/report.json.

    `model` is the name or the folder of a model of Soundstage. It runs on one thread, so a seed
    gives the same clips on any number of cores. Raises RunError if there is no such model.
    """
    began, cpu, console = time.perf_counter(), os.times(), console or terminal()
    out = Path(out)
    with one_thread():
        folder = find_model(resolve_model(model))
        check_encoders()
        pipeline = load(folder)
        asked = chosen(
            pipeline.recipe, joint=JOINT, driven=DRIVEN, spoken=SPOKEN, continued=CONTINUED
        )
        shown = make(pipeline, seeded(asked, seed), out / "clips")
    title = f"What {pipeline.recipe.name} makes"
    sheet = write_sheet(shown, out / "sheet.png", title)
    facts = _facts(pipeline, shown, seed)
    page = write_page(out, title, facts, shown, model, folder / CARD)
    report: dict[str, Any] = {
        "model": model,
        "recipe": pipeline.recipe.name,
        "seed": seed,
        "steps": pipeline.recipe.sample.steps,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(sum(os.times()[:4]) - sum(cpu[:4]), 1),  # with those of ffmpeg
        "cases": [_case(each, out) for each in shown],
    }
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    console.print(f"{facts} The whole demo took {duration(report['seconds'])}. Look and listen:")
    for path in (page, sheet, out / "report.json"):
        console.print(f"  {path}")
    return report


def _facts(pipeline: Pipeline, shown: list[Shown], seed: int) -> str:
    made = [clip.seconds for each in shown for clip in each.clips.values() if clip.seconds]
    size = sum(weight.numel() for weight in pipeline.weights.parameters())
    form = pipeline.format
    return (
        f"{size:,} parameters; {quantity(len(made), 'clip')} of {form.width} x {form.height} pixels"
        f" made in {duration(sum(made))} on one core, for held-out cases, seed {seed}."
    )


def _case(shown: Shown, out: Path) -> dict[str, Any]:
    asked = shown.asked
    return {
        "task": asked.task,
        "set": asked.set,
        "case": asked.name,
        "words": asked.request.title(),
        "given": asked.known,
        "clips": [
            {
                "way": way,
                "file": made.file.relative_to(out).as_posix(),
                "seconds": round(made.seconds, 2),
                "numbers": dict(made.numbers),
            }
            for way, made in shown.clips.items()
        ],
    }
