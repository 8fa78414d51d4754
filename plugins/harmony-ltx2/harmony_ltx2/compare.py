"""The same prompts with several guidances, side by side: `python -m harmony_ltx2.compare PROMPTS.txt --out FOLDER`.

PROMPTS.txt has a prompt on each line; empty lines, and those that begin with #, are left out. In the folder are the clips and `index.html`.
"""

from __future__ import annotations

import argparse
import html
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import torch

from harmony_ltx2.folder import add_recipe_options
from harmony_ltx2.recipe import ltx2_recipe
from harmony_parts.catalogue import catalogue
from harmony_parts.errors import HarmonyError, UnknownPart
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.pipeline import Pipeline

SETTINGS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "cfg": {"video": 3.0, "audio": 7.0},
    "modality": {"video": 3.0, "audio": 3.0},
    "sync-cfg": {"video": 3.0, "audio": 2.0},
}
"""Guidance -> its scales: cfg and modality as LTX2Pipeline has them, sync-cfg as in arXiv:2511.21579."""
TEXT = ("none", "cfg")
"""Those to which cfg isn't added."""


@attrs.frozen
class Made:
    """A clip of the table: its file, and how many seconds it took."""

    file: str
    seconds: float


def guidances(with_text: bool = False) -> dict[str, Guidance]:
    """The guidances that are compared; `with_text` adds cfg to those that read no text. Those that this version lacks are left out."""
    parts, made = catalogue(), {}
    for name, scales in SETTINGS.items():
        try:
            made[name] = parts.load("guidance", f"harmony/{name}")(**scales)
        except UnknownPart:
            print(f"{name} is left out: this version of harmony-parts doesn't have it", file=sys.stderr)
    if not with_text:
        return made
    plus = parts.load("guidance", "harmony/sum")
    return {name: made[name] for name in TEXT} | {f"cfg + {n}": plus((made["cfg"], made[n])) for n in made if n not in TEXT}


def compare(
    pipeline: Pipeline,
    prompts: Sequence[str],
    columns: Mapping[str, Guidance],
    folder: Path,
    *,
    steps: int | None = None,
    seed: int = 0,
    seconds: float | None = None,
) -> Path:
    """Make a clip for each prompt and guidance, from the same noise; the page is written anew after each prompt. Returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    page, rows = folder / "index.html", []
    for number, prompt in enumerate(prompts, start=1):
        row = {}
        for name, guidance in columns.items():
            file = f"{number:03d}-{name.replace(' + ', '-')}.mp4"
            began = time.perf_counter()
            pipeline.generate(prompt, guidance=guidance, steps=steps, seed=seed, seconds=seconds).save(folder / file)
            row[name] = Made(file, time.perf_counter() - began)
            print(f"{folder / file}: {row[name].seconds:.1f} s", flush=True)
        rows.append((prompt, row))
        page.write_text(_page(pipeline.recipe.name, columns, rows, seed), encoding="utf-8")
    return page


def _page(title: str, columns: Mapping[str, Guidance], rows: Sequence[tuple[str, Mapping[str, Made]]], seed: int) -> str:
    head = "".join(f"<th>{html.escape(name)}<br><small>{html.escape(repr(guidance))}</small></th>" for name, guidance in columns.items())
    body = "\n".join(
        f'<tr><th colspan="{len(columns)}" class="prompt">{html.escape(prompt)}</th></tr>\n<tr>'
        + "".join(
            f'<td><video controls loop preload="metadata" src="{html.escape(made.file)}"></video><br>{made.seconds:.1f} s</td>'
            for made in row.values()
        )
        + "</tr>"
        for prompt, row in rows
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{html.escape(title)}: guidances side by side</title>
<style>
body {{ font: 15px sans-serif; margin: 2em }}
th {{ text-align: left; vertical-align: top; padding: 0.5em }}
td {{ padding: 0.5em }}
video {{ width: 100%; min-width: 16em }}
.prompt {{ padding-top: 1.5em }}
small {{ font-weight: normal; overflow-wrap: anywhere }}
</style>
<h1>{html.escape(title)}: guidances side by side</h1>
<p>All clips of a prompt begin from the same noise (seed {seed}). Times are those of making a clip and writing it.</p>
<table>
<tr>{head}</tr>
{body}
</table>
</html>
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m harmony_ltx2.compare", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("prompts", type=Path, help="a text file with a prompt on each line")
    parser.add_argument("--out", type=Path, required=True, help="the folder for clips and page")
    add_recipe_options(parser)
    parser.add_argument("--with-text", action="store_true", help="add cfg to modality and sync-cfg, which read no text by themselves")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the recipe's)")
    parser.add_argument("--seconds", type=float, help="length of a clip (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(default: the GPU where there is one)")
    given = parser.parse_args()
    try:
        lines = [line.strip() for line in given.prompts.read_text(encoding="utf-8").splitlines()]
        prompts = [line for line in lines if line and not line.startswith("#")]
        if not prompts:
            raise ValueError(f"{given.prompts}: there is no prompt in it; write one on each line")
        pipeline = Pipeline.assemble(ltx2_recipe(given.model, given.overrides)).to(given.device)
        columns = guidances(given.with_text)
        print(compare(pipeline, prompts, columns, given.out, steps=given.steps, seed=given.seed, seconds=given.seconds))
    except (HarmonyError, ValueError, OSError) as error:
        raise SystemExit(f"{error}") from None


if __name__ == "__main__":
    main()
