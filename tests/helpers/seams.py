"""What clips are like at their seams: `python tests/helpers/seams.py RUN FILE.json [SHEET.png]`.

RUN is a run of the recipe `demo` trained with `TERMS`. Held-out clips of 2 s go on to 6 s. At each
seam the sample jump, the spectral flux and the frame difference are ranked among those elsewhere in
what was generated: without a seam, ranks are uniform in 0..1. Events of one stream are matched with
those of the other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from harmony_parts.data.protocol import Example
from harmony_parts.generate.continuation import FADE, windows
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.events import Events, match
from harmony_parts.report.contact_sheet import Row, contact_sheet

TERMS = """task.terms=[
 { task = "joint", weight = 1.0, probability = 0.24 },
 { task = "audio-driven", weight = 0.5, probability = 0.22 },
 { task = "video-driven", weight = 0.5, probability = 0.22 },
 { task = { use = "continuation" }, weight = 1.0, probability = 0.32 },
]"""
HELD_OUT = 1_000_000  # added to the data's seed
NEAR = 0.25  # s: an event that near to a seam is at it
RESAMPLES = 2000


def held_out(pipeline: Pipeline, clips: int) -> list[Example]:
    """Examples that training never saw."""
    data: Any = pipeline.recipe.data
    built = attrs.evolve(data, seed=data.seed + HELD_OUT, size=clips).build(format=pipeline.format)
    return [built.example(n, torch.Generator().manual_seed(n)) for n in range(clips)]


def seams(pipeline: Pipeline, begin: int, total: int) -> list[int]:
    """The first new frame of each window."""
    length = pipeline.format.frames
    plan = windows(begin, total, length, round(length / 4), int)
    return [window.start + window.known for window in plan]


def continued(pipeline: Pipeline, examples: Sequence[Example], seconds: float) -> list[Clip]:
    """Each example's clip, and `seconds` more of it."""
    return [
        pipeline.generate(
            e.prompt.caption, sound=e.prompt.sound, begin=e.clip, seconds=seconds, seed=n
        ).clip
        for n, e in enumerate(examples)
    ]


def concatenated(pipeline: Pipeline, examples: Sequence[Example], seconds: float) -> list[Clip]:
    """The contrast: clips of the same prompts, generated independently and cut together."""
    made = []
    for n, e in enumerate(examples):
        frames, sounds, left = [e.clip.frames], [e.clip.waveform], round(seconds * 12)
        for k, step in enumerate((18, 18, left - 36)):
            texts = {"prompt": e.prompt.caption, "sound": e.prompt.sound}
            more = pipeline.generate(**texts, seed=1000 * (k + 1) + n)
            frames.append(more.clip.frames[:step])
            sounds.append(more.clip.waveform[:, : pipeline.format.samples(step)])
        made.append(
            attrs.evolve(more.clip, frames=torch.cat(frames), waveform=torch.cat(sounds, 1))
        )
    return made


def jumps(clip: Clip, block: int) -> np.ndarray:
    """The greatest |x[n] - x[n - 1]| in each block of samples, over the block's level."""
    x = clip.mono().numpy().astype(np.float64)
    blocks = x[: len(x) // block * block].reshape(-1, block)
    steps = np.abs(np.diff(x, prepend=x[0]))[: blocks.size].reshape(-1, block).max(1)
    return steps / (np.sqrt((blocks**2).mean(1)) + 1e-3)


def flux(clip: Clip, hop: int) -> np.ndarray:
    """The rise of the log spectrum (in dB, mean over bins) from each hop to the next."""
    x = clip.mono()
    spectrum = torch.stft(
        x, 4 * hop, hop, window=torch.hann_window(4 * hop), return_complex=True, center=True
    )
    level = 20 * torch.log10(spectrum.abs() + 1e-3)
    return level.diff(dim=1).clamp(min=0).mean(0).double().numpy()


def changes(clip: Clip) -> np.ndarray:
    """The mean absolute difference of each frame to the one before."""
    frames = clip.frames.double()
    return (frames[1:] - frames[:-1]).abs().mean((1, 2, 3)).numpy()


def ranks(values: np.ndarray, at: Sequence[int], first: int) -> list[float]:
    """The share of other values from `first` on that each value in `at` exceeds; ties count half.

    The greatest of the two nearest values stands for a seam, as the pairs of others do.
    """
    pairs = np.maximum(values[:-1], values[1:])
    own = [min(k - 1, len(pairs) - 1) for k in at]
    others = np.delete(pairs, [k + d for k in own for d in (-1, 0, 1) if 0 <= k + d < len(pairs)])
    rest = others[max(0, first) :]
    return [float(((rest < pairs[k]).mean() + (rest <= pairs[k]).mean()) / 2) for k in own]


def all_ranks(clips: Sequence[Clip], at: Sequence[int], begin: int) -> dict[str, np.ndarray]:
    """Ranks [clips, seams] of each measure."""
    rate, fps = clips[0].sample_rate, float(clips[0].fps)
    block = round(0.01 * rate)
    result: dict[str, list[list[float]]] = {"sample jump": [], "spectral flux": [], "frames": []}
    for clip in clips:
        ends, first = [round(k / fps * rate) for k in at], round(begin / fps * rate)
        places = [e // block for e in ends]
        measures = {"sample jump": jumps(clip, block), "spectral flux": flux(clip, block)}
        for what, values in measures.items():
            result[what].append(ranks(values, places, first // block))
        result["frames"].append(ranks(changes(clip), at, begin))
    return {name: np.array(values) for name, values in result.items()}


def interval(values: Sequence[float]) -> list[float]:
    """The bootstrap's 95 % interval of the mean over clips."""
    random, x = np.random.default_rng(0), np.array(values)
    means = x[random.integers(len(x), size=(RESAMPLES, len(x)))].mean(1)
    return [float(q) for q in np.quantile(means, [0.025, 0.975])]


def matched(clips: Sequence[Clip], at: Sequence[int], begin: int) -> dict[str, Any]:
    """The share of events with a partner in the other stream, at the seams and elsewhere in what
    was generated, and the bootstrap's 95 % interval of the difference over clips.
    """
    metric, counts = Events(), []
    for clip in clips:
        found, fps = metric.analyse(clip), float(clip.fps)
        pairs = match(found.video, found.audio, metric.tolerance)
        has = {"video": {i for i, _ in pairs}, "audio": {j for _, j in pairs}}
        row = np.zeros((2, 2))  # (at a seam, elsewhere) x (matched, events)
        for stream in ("video", "audio"):
            for k, t in enumerate(found[stream]):
                near = min(abs(t - s / fps) for s in at) <= NEAR
                if near or t >= begin / fps:
                    row[int(not near)] += (k in has[stream], 1)
        counts.append(row)
    table = np.array(counts)

    def share(rows: np.ndarray) -> np.ndarray:
        total = rows.sum(0)
        return total[:, 0] / np.maximum(total[:, 1], 1)

    random = np.random.default_rng(0)
    drawn = [share(table[random.integers(len(table), size=len(table))]) for _ in range(RESAMPLES)]
    at_seam, inside = share(table)
    return {
        "events": [int(n) for n in table.sum(0)[:, 1]],
        "at_seams": float(at_seam),
        "elsewhere": float(inside),
        "difference": float(at_seam - inside),
        "interval": [float(q) for q in np.quantile([a - b for a, b in drawn], [0.025, 0.975])],
    }


def report(pipeline: Pipeline, clips: int = 24, seconds: float = 4.0) -> tuple[dict, list[Clip]]:
    """All figures, of clips that go on and of independent ones, and the former."""
    examples = held_out(pipeline, clips)
    begin = pipeline.format.frames
    at = seams(pipeline, begin, begin + round(seconds * float(pipeline.format.fps)))
    made = {
        "continued": continued(pipeline, examples, seconds),
        "independent": concatenated(pipeline, examples, seconds),
    }
    figures: dict[str, Any] = {
        "recipe": pipeline.recipe.name,
        "steps": pipeline.recipe.train.steps,
        "clips": clips,
        "seams_s": [k / float(pipeline.format.fps) for k in at],
        "fade_s": FADE,
    }
    for name, some in made.items():
        each = all_ranks(some, at, begin)
        figures[name] = {
            "ranks": {
                what: {"mean": float(r.mean()), "interval": interval(r.mean(1).tolist())}
                for what, r in each.items()
            },
            "matched": matched(some, at, begin),
        }
    figures["continued"]["first_seam_of_a_true_clip"] = {
        what: float(r[:, 0].mean()) for what, r in all_ranks(made["continued"], at, begin).items()
    }
    return figures, made["continued"]


def main(run: str, out: str, sheet: str | None = None) -> None:
    """Write the figures, and a sheet of the first clips."""
    torch.set_num_threads(1)
    pipeline = load(run)
    figures, clips = report(pipeline)
    Path(out).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))
    if sheet:
        rows = [
            Row(e.prompt.caption or "", clip, Events().analyse(clip))
            for e, clip in zip(held_out(pipeline, 6), clips)
        ]
        contact_sheet(rows, Path(sheet), "6 s of a 2 s model: seams at 2, 3.5 and 5 s")
        torch.save(clips, Path(sheet).with_suffix(".pt"))


if __name__ == "__main__":
    main(*sys.argv[1:])
