"""Make the gallery anew: `python docs/gallery.py --model harmony-tiny`.

It writes docs/gallery.md, the clips that the page plays, and the README's first picture, which are
committed. Which cases are shown is a rule, not taste: see `TEXT`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from PIL import Image

from harmony_parts.demo.cases import Asked, HeldOut, ask_joint, chosen
from harmony_parts.demo.make import PLAIN, TRUTH, Numbers, Shown, make, one_thread, seeded, ways
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
same noise; plain ones are made without SyncCFG, and have the text guidance of their sound, too.

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

Of the cases {FIRST} to {FIRST + SEARCHED - 1} of each set with events, in whose truth every event
is seen and heard, the {FAILURES} whose guided clip has the lowest F1 of both.
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
        failures = make(pipeline, searched(pipeline, seed), media, quality=QUALITY)
    size = sum(file.stat().st_size for file in media.glob("*.mp4"))
    if size > LARGEST:
        raise click.ClickException(f"the clips have {size:,} bytes, and {LARGEST:,} are the limit")
    title = f"{pipeline.recipe.name}: the first case of each set"
    still = write_sheet(shown, media / "still.png", title)
    with Image.open(still) as image:  # a quarter of the bytes
        image.quantize(128).save(still, optimize=True)
    guidance = f"`{pipeline.recipe.sample.guidance!r}`"
    about = f"Made with {pipeline.recipe.name}, seed {seed}; guided: {guidance}.\n"
    page = docs / "gallery.md"
    page.write_text(page_text(about, shown, failures), encoding="utf-8")
    return page


def searched(pipeline: Pipeline, seed: int) -> list[Asked]:
    """Of the cases that are searched, those to show, with their seeds."""
    cases = HeldOut(pipeline.recipe)
    every = range(FIRST, FIRST + SEARCHED)
    asked = [ask_joint(name, data.example(n)) for name, data in cases.sets.items() for n in every]
    asked = seeded([each for each in asked if each.eventful], seed)
    guided = {way: guidance for way, guidance in ways(pipeline).items() if way != PLAIN}
    with TemporaryDirectory() as folder:
        made = make(pipeline, asked, Path(folder), guided)
    numbers = [{way: clip.numbers for way, clip in each.clips.items()} for each in made]
    return [asked[k] for k in lowest(numbers, *guided)]


def lowest(cases: Sequence[Mapping[str, Numbers]], way: str) -> list[int]:
    """Which cases have the lowest F1 by `way`, worst first; those of equal F1 by the offset.

    A clip without an event has an F1 of 0. Where the metric misses an event of the truth, it can't
    judge a clip: such cases are left out.
    """

    def order(k: int) -> tuple[float, float]:
        numbers = cases[k][way]
        return numbers.get("f1", 0.0), -numbers.get("offset_ms", 0.0)

    judged = [k for k, numbers in enumerate(cases) if numbers[TRUTH].get("f1") == 1]
    return sorted(judged, key=order)[:FAILURES]


def page_text(about: str, shown: Sequence[Shown], failures: Sequence[Shown]) -> str:
    """The page in Markdown, with players in HTML."""
    pieces = [TEXT, about]
    for task, cases in by_task(shown).items():
        heading, given = SECTIONS[task]
        pieces.append(f"\n## {heading}\n\nGiven: {given}\n")
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
