"""Make the gallery anew: `python docs/gallery.py --model harmony-tiny`.

It writes docs/gallery.md, the clips that the page plays, and the README's first picture, which are
committed. Which cases are shown is a rule, not taste: see `TEXT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from harmony_parts.demo.cases import Asked, HeldOut, ask_joint, chosen
from harmony_parts.demo.make import PLAIN, Numbers, Shown, make, one_thread, seeded, ways
from harmony_parts.demo.players import SECTIONS, by_task, case_html
from harmony_parts.demo.run import MODEL
from harmony_parts.demo.sheet import write_sheet
from harmony_parts.generate.checks import resolve_model
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline

DOCS = Path(__file__).parent
MEDIA = Path("images", "gallery")  # within docs/
JOINT, DRIVEN, SPOKEN, CONTINUED = 3, 3, 1, 1  # cases: of each set, of each direction, and in all
FIRST, SEARCHED, FAILURES = 10, 10, 3  # of each set, the cases that are searched; how many to show
LARGEST = 6_000_000  # bytes of all clips: they stay in the history of the repository

QUALITY = 24  # x264's CRF

TEXT = f"""<!-- Written by docs/gallery.py: don't edit. -->
# Gallery

With sound. Cases that training never saw, chosen by a rule and not by taste, each as it came from
the first seed: the first {JOINT} held-out cases of each set of
[Soundstage](explanation/soundstage.md), then the next ones, in which a sound, a picture, a voice or
a beginning is given, and at the end some that went wrong. Plain and guided clips begin with the
same noise.

Under the clips of cases with events: how many flashes are seen, how many sounds are heard, and how
many of them within 0.1 s of each other, as [measured](explanation/measuring-sync.md). One clip is
an anecdote; numbers over many cases are in the card of a model. To make this page anew, or with a
model of yours:

```console
python docs/gallery.py --model {MODEL}
```
"""
LOWEST = f"""
## What goes wrong

Of the cases {FIRST} to {FIRST + SEARCHED - 1} of each set with events, the {FAILURES} whose guided
clip has the lowest F1 of seen and heard events.
"""


def gallery(model: str, docs: Path, seed: int) -> Path:
    """Write the page, its clips and the still picture into the folder `docs`; returns the page."""
    media = docs / MEDIA
    for old in [*media.glob("*.mp4"), *media.glob("*.flac")]:
        old.unlink()
    with one_thread():
        pipeline = load(resolve_model(model))
        asked = chosen(
            pipeline.recipe, joint=JOINT, driven=DRIVEN, spoken=SPOKEN, continued=CONTINUED
        )
        shown = make(pipeline, seeded(asked, seed), media, quality=QUALITY)
        failures = make(pipeline, lowest(pipeline, seed), media, quality=QUALITY)
    size = sum(file.stat().st_size for file in media.glob("*.mp4"))
    if size > LARGEST:
        raise click.ClickException(f"the clips have {size:,} bytes, and {LARGEST:,} are the limit")
    write_sheet(shown, media / "still.png", f"{pipeline.recipe.name}: the first case of each set")
    about = (
        f"\nMade with {pipeline.recipe.name}, seed {seed}: {pipeline.recipe.sample.guidance!r}\n"
    )
    page = docs / "gallery.md"
    page.write_text(page_text(escape(about), shown, failures), encoding="utf-8")
    return page


def lowest(pipeline: Pipeline, seed: int) -> list[Asked]:
    """The cases, of those searched, whose guided clip has the lowest F1, with their seeds."""
    cases = HeldOut(pipeline.recipe)
    every = range(FIRST, FIRST + SEARCHED)
    asked = [ask_joint(name, data.example(n)) for name, data in cases.sets.items() for n in every]
    asked = seeded([each for each in asked if each.eventful], seed)
    guided = {way: guidance for way, guidance in ways(pipeline).items() if way != PLAIN}
    with TemporaryDirectory() as folder:
        made = make(pipeline, asked, Path(folder), guided)
    (way,) = guided
    made.sort(key=lambda each: order(each.clips[way].numbers))
    return [each.asked for each in made[:FAILURES]]


def order(numbers: Numbers) -> tuple[float, float]:
    """From the worst clip to the best: by F1, 0 without an event, then by the offset."""
    return numbers.get("f1", 0.0), -numbers.get("offset_ms", 0.0)


def page_text(about: str, shown: Sequence[Shown], failures: Sequence[Shown]) -> str:
    """The page in Markdown, with players in HTML."""
    pieces = [TEXT, about]
    for task, cases in by_task(shown).items():
        heading, given = SECTIONS[task]
        pieces.append(f"\n## {heading}\n\nGiven: {given[0].lower()}{given[1:]}\n")
        pieces += map(_case, cases)
    if failures:
        pieces += [LOWEST, *map(_case, failures)]
    return "\n".join(pieces)


def _case(shown: Shown) -> str:
    # the page is one folder deeper on the site than in docs/
    return case_html(shown, lambda file: f"../{(MEDIA / file.name).as_posix()}")


@click.command()
@click.option("--model", default=MODEL, show_default=True, help="Name or folder of a model.")
@click.option("--seed", default=0, show_default=True, help="Seed of the clips.")
@click.option(
    "--docs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=DOCS,
    help="Folder to write into.  [default: docs]",
)
def main(model: str, seed: int, docs: Path) -> None:
    """Write the gallery."""
    click.echo(gallery(model, docs, seed))


if __name__ == "__main__":
    main()
