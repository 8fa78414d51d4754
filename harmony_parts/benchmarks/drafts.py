"""Another sound for a clip of a face: which mouths follow it, and how much of the picture stays.

    python -m harmony_parts.benchmarks.drafts harmony-tiny --out docs/results/drafts.json \\
        --sheet docs/images/drafts.png

Held-out clips of Soundstage of one person who talks, each as the draft for the sound of another
one, drawn independently. For each strength: the correlation of the mouth with the given sound and
with the draft's own (`soundstage-mouth`), and how far the picture is from the draft, both averaged
over time and through the codec, in levels of 0 to 255. At strength 1 the draft has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from harmony_parts.benchmarks.measure import machine, write_report
from harmony_parts.benchmarks.voices import interval
from harmony_parts.data.protocol import Example
from harmony_parts.data.soundstage import HELD_OUT, Soundstage
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.events import Events
from harmony_parts.metrics.soundstage_mouth import SoundstageMouth
from harmony_parts.report.contact_sheet import Row, contact_sheet
from harmony_parts.scenes.talk import Talk

STRENGTHS = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SHOWN, DRAWN = 2, (0.4, 0.6, 0.8, 1.0)  # faces and strengths in the picture


def pairs(pipeline: Pipeline, count: int, seed: int) -> list[tuple[Example, Example]]:
    """`count` clips of one person, and a clip of another conversation for each."""
    data = Soundstage(scenes=(Talk(pairs=0.0),), held_out=True).build(format=pipeline.format)
    steps = torch.randint(
        1, HELD_OUT, (count,), generator=torch.Generator().manual_seed(seed)
    ).tolist()
    return [
        (data.example(number), data.example((number + step) % HELD_OUT))
        for number, step in enumerate(steps)
    ]


def talks_again(
    pipeline: Pipeline, one: Example, other: Example, strength: float, seed: int
) -> Clip:
    """The face of `one` with the sound of `other`."""
    return pipeline.generate(
        one.prompt.caption,
        sound=other.prompt.sound,
        speech=other.prompt.speech,
        audio=Clip(waveform=other.clip.waveform, sample_rate=other.clip.sample_rate),
        draft=one.clip,
        strength=strength,
        seed=seed,
        progress=False,
    ).clip


def mean_picture(clip: Clip) -> torch.Tensor:
    """[H, W, 3]: the frames' average over time."""
    assert clip.frames is not None
    return clip.frames.float().mean(0)


def measured(pipeline: Pipeline, made: Clip, one: Example, other: Example) -> dict[str, float]:
    """The numbers of one clip."""
    metric = SoundstageMouth().build()
    moves = metric.analyse(made)["video"]
    new, old = (metric.analyse(each.clip)["audio"] for each in (other, one))
    (draft,) = pipeline.decode(pipeline.encode([one.clip]), pipeline.format.frames)
    return {
        "with the given sound": metric.score(moves, new).get("mouth_correlation", 0.0),
        "with the draft's sound": metric.score(moves, old).get("mouth_correlation", 0.0),
        "levels from the draft": float((mean_picture(made) - mean_picture(draft)).abs().mean()),
    }


def shown(
    both: Sequence[tuple[Example, Example]], made: Mapping[float, Sequence[Clip]]
) -> list[Row]:
    """The first drafts, and what became of them."""
    return [
        Row(title, clip, Events().analyse(clip))
        for number, (one, _) in enumerate(both[:SHOWN])
        for title, clip in (
            (f"draft: {one.prompt.caption}", one.clip),
            *((f"strength {s:g}", made[s][number]) for s in made if s in DRAWN),
        )
    ]


@click.command()
@click.argument("model")
@click.option("--clips", default=24, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--sheet", type=click.Path(path_type=Path), help="A picture of the first faces.")
def main(model: str, clips: int, seed: int, out: Path, sheet: Path | None) -> None:
    """Measure MODEL at several strengths, with the same noise."""
    pipeline = load(model)
    both = pairs(pipeline, clips, seed)
    made: dict[float, list[Clip]] = {}
    report: dict[str, Any] = {
        "model": Path(model).name,
        "clips": clips,
        "seed": seed,
        "machine": machine(torch.device("cpu")),
        "strengths": {},
    }
    for strength in STRENGTHS:
        made[strength] = [
            talks_again(pipeline, one, other, strength, seed + number)
            for number, (one, other) in enumerate(both)
        ]
        rows = [
            measured(pipeline, clip, one, other)
            for clip, (one, other) in zip(made[strength], both, strict=True)
        ]
        found = {name: interval([row[name] for row in rows]) for name in rows[0]}
        report["strengths"][str(strength)] = found
        click.echo(f"{strength}: " + ", ".join(f"{k} {v['mean']:.3f}" for k, v in found.items()))
    write_report(report, out, quick=False)
    if sheet is not None:
        contact_sheet(shown(both, made), sheet, "faces with the sound of another clip")


if __name__ == "__main__":
    main()
