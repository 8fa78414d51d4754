"""The same prompts with several guidances, side by side: `python -m harmony_ltx2.compare PROMPTS.txt --out FOLDER`.

PROMPTS.txt has a prompt on each line; empty lines, and those that begin with #, are left out. In the folder are then the clips, each with a
note of what it was made from, `index.html`, which shows them with what was measured, the same as `results.json`, and `recipe.toml`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from harmony_ltx2.columns import guidances, passes
from harmony_ltx2.folder import add_recipe_options
from harmony_ltx2.recipe import ltx2_recipe
from harmony_ltx2.results import Results, Row, versions
from harmony_ltx2.shift import LTX2Shift
from harmony_parts.assemble import write_recipe
from harmony_parts.cli import note
from harmony_parts.cli.command import INTERRUPTED
from harmony_parts.cli.format import complain, duration, progress, quantity
from harmony_parts.errors import HarmonyError
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.media import Clip
from harmony_parts.pipeline import Pipeline
from harmony_parts.recipe import Recipe
from harmony_parts.structure import unstructure


def compare(
    recipe: Recipe, prompts: Sequence[str], columns: Mapping[str, Guidance], folder: Path, *, seed: int = 0, device: str = "cpu"
) -> Results:
    """Make a clip for each prompt and guidance, from the same noise, and measure it by the recipe's metrics; the page is written after each.

    Clips that are there already are left alone, and where all are, no model is loaded. A clip that can't be made doesn't stop the others;
    what was wrong is on the page. Raises ValueError, before anything is made, where the folder holds clips of another comparison.
    """
    rows = [
        Row(f"{number:03d}-{name.replace(' ', '')}.mp4", prompt, name, _note(recipe, prompt, guidance, seed))
        for number, prompt in enumerate(prompts, start=1)
        for name, guidance in columns.items()
    ]
    left = [row for row in rows if not note.made(folder / row.file, row.noted)]
    _check_free(folder, left)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(write_recipe(recipe), encoding="utf-8")
    results = Results(folder, recipe, columns, rows, seed)
    if there := [row for row in rows if row not in left]:
        print(f"{len(there)} of {quantity(len(rows), 'clip')} are there already, in {folder}", flush=True)
        with progress("measuring") as step:
            for done, row in enumerate(there, start=1):
                results.measure(row, Clip.read(folder / row.file))
                step(done, len(there))
    results.write()
    if left:
        _make(Pipeline.assemble(recipe).to(device), left, columns, results, seed)
    return results


def _make(pipeline: Pipeline, left: Sequence[Row], columns: Mapping[str, Guidance], results: Results, seed: int) -> None:
    """One clip after the other; what remains is reckoned by the passes of a step, which differ."""
    cost, done, began = {name: passes(guidance) for name, guidance in columns.items()}, 0, time.perf_counter()
    total = sum(cost[row.column] for row in left)
    for number, row in enumerate(left, start=1):
        started = time.perf_counter()
        try:
            with progress(f"{number} of {len(left)}, {row.column}") as step:
                clip = pipeline.generate(row.prompt, guidance=columns[row.column], seed=seed, progress=_steps(step)).clip
            _save(clip, results.folder / row.file, row.noted)
            results.took[row.file] = time.perf_counter() - started
            results.measure(row, Clip.read(results.folder / row.file))
            said = f"{results.folder / row.file}: {duration(results.took[row.file])}"
        except (HarmonyError, ValueError) as error:
            results.failed[row.file] = said = f"{row.file} can't be made: {error}"
        results.write()
        done += cost[row.column]
        rest = f"; about {duration((time.perf_counter() - began) / done * (total - done))} left" if done < total else ""
        print(f"{said} ({number} of {len(left)}{rest})", flush=True)


def _steps(step: Callable[[int, int], None]) -> Callable[[int, int, Any], None]:
    return lambda done, steps, latents: step(done, steps)


def _note(recipe: Recipe, prompt: str, guidance: Guidance, seed: int) -> dict[str, Any]:
    """Everything that decides what a clip shows, but for the weights themselves: the recipe says where they are. Metrics don't."""
    settings = {"seed": seed, "steps": recipe.sample.steps, "guidance": unstructure(guidance, kind="guidance")}
    return note.note(attrs.evolve(recipe, metrics=()), "", {"prompt": prompt}, **settings, versions=versions())


def _check_free(folder: Path, left: Sequence[Row]) -> None:
    """Clips of other settings cost hours, and aren't written over. A clip without a note was never finished."""
    for row in left:
        if (folder / row.file).is_file() and (old := _noted(folder / row.file)):
            other = sorted(name for name in old.keys() | row.noted.keys() if old.get(name) != row.noted.get(name))
            differ = ", ".join("recipe" if name == "model" else name for name in other)  # of the model, it notes the recipe
            raise ValueError(
                f"{folder / row.file}: is there, and differs in its {differ} from what is asked for; choose another --out, or remove {folder}"
            )


def _noted(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(note.beside(file).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _save(clip: Clip, file: Path, noted: Mapping[str, Any]) -> None:
    note.beside(file).unlink(missing_ok=True)
    clip.save(file, metadata=note.embedded(noted))
    note.write(file, noted)


# --- the command line -----------------------------------------------------------------------------------------------------------------


def main() -> None:
    """The command line."""
    given = _parser().parse_args()
    warnings.showwarning = lambda message, category, *rest: complain(f"warning: {message}") if issubclass(category, UserWarning) else None
    try:
        prompts = _prompts(given.prompts)
        recipe = _recipe(given)
        columns = guidances(given.guidance, given.with_text)
        _check_place(given.out, given.device)
        results = compare(recipe, prompts, columns, given.out, seed=given.seed, device=given.device)
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from there")
        raise SystemExit(INTERRUPTED) from None
    except (HarmonyError, ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    print(results.page)
    if results.failed:
        raise SystemExit(f"{quantity(len(results.failed), 'clip')} couldn't be made; the same command tries again")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harmony_ltx2.compare",
        description="Make every prompt of a file with several guidances, from the same noise, measure the sync, and write a page that shows "
        "them side by side. Stopped, the same command goes on; clips that are there are left alone.",
    )
    parser.add_argument("prompts", type=Path, help="a text file with a prompt on each line")
    parser.add_argument("--out", type=Path, required=True, help="the folder for clips, page and numbers")
    add_recipe_options(parser)
    parser.add_argument("--with-text", action="store_true", help="add cfg to those that read no text: modality and sync-cfg")
    parser.add_argument(
        "--guidance",
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="change a setting of a guidance (sync-cfg.audio=4), or add one of that name (mine.use=apg); may be repeated",
    )
    parser.add_argument("--steps", type=_at_least_one, help="sampling steps (default: the recipe's)")
    parser.add_argument("--seconds", type=_positive, help="length of a clip (default: the recipe's)")
    parser.add_argument("--seed", type=_seed, default=0, help="of the noise (default: 0)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(default: the GPU where there is one)")
    return parser


def _recipe(given: argparse.Namespace) -> Recipe:
    """The recipe with the options in it; LTX-2's times end as they should only for the number of steps that they are made for."""
    changes = [f"sample.steps={given.steps}"] if given.steps else []
    changes += [f"format.seconds={given.seconds}"] if given.seconds else []
    recipe = ltx2_recipe(given.model, [*given.overrides, *changes])
    shift = recipe.sample.shift
    if given.steps and isinstance(shift, LTX2Shift):
        recipe = attrs.evolve(recipe, sample=attrs.evolve(recipe.sample, shift=attrs.evolve(shift, steps=given.steps)))
    return recipe


def _prompts(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise ValueError(f"{file}: the prompts can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: is no text in UTF-8; save it as such") from error
    prompts = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not prompts:
        raise ValueError(f"{file}: there is no prompt in it; write one on each line")
    return prompts


def _check_place(out: Path, device: str) -> None:
    """Before a model is loaded."""
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"--out {out}: {there} {'can not be written to' if there.is_dir() else 'is no folder'}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device} can't be used: {str(error).splitlines()[0]}") from error


def _at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def _positive(text: str) -> float:
    if not 0 < (number := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no length; write a number of seconds above 0")
    return number


def _seed(text: str) -> int:
    if not 0 <= (number := int(text)) < 2**63:
        raise argparse.ArgumentTypeError(f"{text} isn't between 0 and 2^63 - 1")
    return number


if __name__ == "__main__":
    main()
