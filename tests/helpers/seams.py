"""What clips are like at their seams: `python tests/helpers/seams.py MODEL FILE.json`.

MODEL is a model of Soundstage: one of the recipe `demo` that was trained with `TERMS`, or
harmony-tiny. Clips of 2 s go on to 6 s. At each seam the sample jump, the rise and the fall of the
spectrum and the frame difference are ranked among those elsewhere in what was generated: without a
seam, ranks are uniform in 0..1. Events of one stream are matched with those of the other.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from harmony_parts.data.protocol import Example
from harmony_parts.generate.checks import resolve_model
from harmony_parts.generate.continuation import FADE, plan
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.request import REMAKE, Request
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
CLIPS = 24
BATCH = 12
HIGH = 0.95  # without a seam, one rank in twenty is above
MEASURES = ("sample jump", "spectral rise", "spectral fall", "frames")
NEAR = 0.25  # s: an event that near to a seam is at it
RESAMPLES = 2000


def held_out(pipeline: Pipeline, clips: int) -> list[Example]:
    """Examples that training never saw, of the first set of scenes (harmony-tiny: ambient).

    A set that mixes scenes is one scene of the recipe; the demo's scenes are all of one set.
    """
    data: Any = pipeline.recipe.data
    scenes = data.scenes[:1] if hasattr(data.scenes[0], "scenes") else data.scenes
    data = attrs.evolve(data, scenes=scenes, seed=data.seed + HELD_OUT, size=clips)
    built = data.build(format=pipeline.format)
    return [built.example(n, torch.Generator().manual_seed(n)) for n in range(clips)]


def seams(pipeline: Pipeline, begin: int, total: int) -> list[int]:
    """The first new frame of each window that goes on from something."""
    format, default = pipeline.format, Request()
    frames = default.overlap_frames(format), default.remake_frames(format)
    made = plan(begin, total, pipeline.codecs, format, *frames)
    return [window.start + window.known for window in made if window.known]


def without_end(pipeline: Pipeline, clips: Sequence[Clip]) -> list[Clip]:
    """Clips that a model made, without the end that it made without what follows."""
    format = pipeline.format
    frames = format.frames - Request().remake_frames(format)
    samples = format.samples(frames)
    return [
        attrs.evolve(clip, frames=clip.frames[:frames], waveform=clip.waveform[:, :samples])  # type: ignore[index]
        for clip in clips
    ]


def generated(
    pipeline: Pipeline, examples: Sequence[Example], seed: int, **settings: Sequence[Any]
) -> list[Clip]:
    """A clip of each example's texts, with seeds from `seed` on and each one's own settings."""
    requests = []
    for n, example in enumerate(examples):
        own = {key: values[n] for key, values in settings.items()}
        text = example.prompt
        requests.append(Request(prompt=text.caption, sound=text.sound, seed=seed + n, **own))
    return [each.clip for each in pipeline.generate_many(requests, batch=BATCH)]


def continued(
    pipeline: Pipeline, examples: Sequence[Example], clips: Sequence[Clip], total: int
) -> list[Clip]:
    """Each clip, and more of it by its example's texts, `total` frames in all."""
    seconds = [
        (total - len(clip.frames)) / float(pipeline.format.fps)  # type: ignore[arg-type]
        for clip in clips
    ]
    return generated(pipeline, examples, 1000, begin=clips, seconds=seconds)


def in_windows(
    pipeline: Pipeline, examples: Sequence[Example], _: Sequence[Clip], total: int
) -> list[Clip]:
    """Clips of `total` frames, made in windows from the start."""
    format, count = pipeline.format, len(examples)
    overlap = float(Request().overlap_frames(format) / format.fps)
    seconds = total / float(format.fps)
    return generated(pipeline, examples, 0, seconds=[seconds] * count, overlap=[overlap] * count)


def concatenated(
    pipeline: Pipeline, examples: Sequence[Example], clips: Sequence[Clip], total: int
) -> list[Clip]:
    """The contrast: clips of the same texts, generated independently and cut together."""
    format = pipeline.format
    parts = [[clip] for clip in clips]
    ends = [*seams(pipeline, format.frames, total), total]
    for k, step in enumerate(np.diff(ends).tolist()):
        for own, more in zip(parts, generated(pipeline, examples, 1000 * (k + 2))):
            sound = more.waveform[:, : format.samples(step)]  # type: ignore[index]
            own.append(attrs.evolve(more, frames=more.frames[:step], waveform=sound))  # type: ignore[index]
    return [
        attrs.evolve(
            own[0],
            frames=torch.cat([part.frames for part in own]),
            waveform=torch.cat([part.waveform for part in own], 1),
        )
        for own in parts
    ]


def jumps(clip: Clip, block: int) -> np.ndarray:
    """The greatest |x[n] - x[n - 1]| in each block of samples, over the block's level."""
    x = clip.mono().numpy().astype(np.float64)
    blocks = x[: len(x) // block * block].reshape(-1, block)
    steps = np.abs(np.diff(x, prepend=x[0]))[: blocks.size].reshape(-1, block).max(1)
    return steps / (np.sqrt((blocks**2).mean(1)) + 1e-3)


def flux(clip: Clip, hop: int, sign: int = 1) -> np.ndarray:
    """The rise of the log spectrum from each hop to the next, or its fall (-1), in dB."""
    x = clip.mono()
    spectrum = torch.stft(
        x, 4 * hop, hop, window=torch.hann_window(4 * hop), return_complex=True, center=True
    )
    level = 20 * torch.log10(spectrum.abs() + 1e-3)
    return (sign * level.diff(dim=1)).clamp(min=0).mean(0).double().numpy()


def changes(clip: Clip) -> np.ndarray:
    """The mean absolute difference of each frame to the one before."""
    frames = clip.frames.double()
    return (frames[1:] - frames[:-1]).abs().mean((1, 2, 3)).numpy()


def ranks(values: np.ndarray, at: Sequence[int], first: int, width: int = 2) -> list[float]:
    """The share of other places from `first` on that each place in `at` exceeds; ties count half.

    The greatest of the `width` values that end at a place stands for it.
    """
    places = np.lib.stride_tricks.sliding_window_view(values, width).max(1)
    own = [min(k - width + 1, len(places) - 1) for k in at]
    near = {k + d for k in own for d in range(1 - width, width)}
    rest = places[[k for k in range(max(0, first), len(places)) if k not in near]]
    return [float(((rest < places[k]).mean() + (rest <= places[k]).mean()) / 2) for k in own]


def all_ranks(clips: Sequence[Clip], at: Sequence[int], begin: int) -> dict[str, np.ndarray]:
    """Ranks [clips, seams] of each measure; the fade before a seam is a part of it."""
    rate, fps = clips[0].sample_rate, float(clips[0].fps)
    block = round(0.01 * rate)
    places, first = [round(k / fps * rate) // block for k in at], round(begin / fps * rate) // block
    width = round(FADE * rate / block) + 1
    result: dict[str, list[list[float]]] = {what: [] for what in MEASURES}
    for clip in clips:
        of_sound = (jumps(clip, block), flux(clip, block), flux(clip, block, -1))
        for what, values in zip(MEASURES, of_sound):
            result[what].append(ranks(values, places, first, width))
        result["frames"].append(ranks(changes(clip), at, begin))
    return {name: np.array(values) for name, values in result.items()}


def interval(values: np.ndarray) -> list[float]:
    """The bootstrap's 95 % interval of the mean over clips."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    means = values[drawn].mean(1)
    return [float(q) for q in np.quantile(means, [0.025, 0.975])]


def matched(clips: Sequence[Clip], at: Sequence[int], begin: int) -> dict[str, Any]:
    """The share of generated events with a partner in the other stream, at the seams and elsewhere,
    and the bootstrap's 95 % interval of the difference over clips.
    """
    metric, counts = Events(), []
    for clip in clips:
        found, fps = metric.analyse(clip), float(clip.fps)
        pairs = match(found.video, found.audio, metric.tolerance)
        has = {"video": {i for i, _ in pairs}, "audio": {j for _, j in pairs}}
        row = np.zeros((len(at) + 1, 2))  # (at each seam, elsewhere) x (matched, events)
        for stream in ("video", "audio"):
            for k, t in enumerate(found[stream]):
                if t >= begin / fps:
                    distance = [abs(t - s / fps) for s in at]
                    nearest = int(np.argmin(distance))
                    place = nearest if distance[nearest] <= NEAR else len(at)
                    row[place] += (k in has[stream], 1)
        counts.append(row)
    table = np.array(counts)

    def shares(rows: np.ndarray) -> tuple[float, float]:
        total = np.array([rows[:, :-1].sum((0, 1)), rows[:, -1].sum(0)])
        at_seams, elsewhere = total[:, 0] / np.maximum(total[:, 1], 1)
        return at_seams, elsewhere

    random = np.random.default_rng(0)
    drawn = [shares(table[random.integers(len(table), size=len(table))]) for _ in range(RESAMPLES)]
    at_seam, inside = shares(table)
    seen = table.sum(0)
    return {
        "events": [int(seen[:-1, 1].sum()), int(seen[-1, 1])],
        "at_seams": float(at_seam),
        "elsewhere": float(inside),
        "difference": float(at_seam - inside),
        "interval": [float(q) for q in np.quantile([a - b for a, b in drawn], [0.025, 0.975])],
        "of_each_seam": [[int(n) for n in pair] for pair in seen[:-1]],  # matched, events
    }


def detail(clips: Sequence[Clip], at: Sequence[int]) -> list[float]:
    """The mean difference of neighbouring pixels in each window, over that in what was given."""

    def of(frames: torch.Tensor) -> float:
        return float(frames.double().diff(dim=2).abs().mean())

    ends = [0, *at, len(clips[0].frames)]  # type: ignore[arg-type]
    parts = [[of(clip.frames[a:b]) for a, b in pairwise(ends)] for clip in clips]  # type: ignore[index]
    given, *windows = np.array(parts).mean(0).tolist()
    return [each / given for each in windows]


GROUPS = ("continued", "without end", "from the start", "independent", "from truth")
JOINS = {"from the start": in_windows, "independent": concatenated}


def report(
    pipeline: Pipeline,
    clips: int = CLIPS,
    seconds: float = 4.0,
    groups: Sequence[str] = GROUPS,
) -> tuple[dict[str, Any], list[Clip]]:
    """All figures, and the clips that go on from generated ones.

    `continued` goes on from clips that the model made, `without end` from the same without the end
    that a window would lose, `from the start` is made in windows as a whole, and `independent` is
    the contrast. `from truth` goes on from clips of the data, which ranks and events leave out.
    """
    format, examples = pipeline.format, held_out(pipeline, clips)
    total = format.frames + round(seconds * float(format.fps))
    own = generated(pipeline, examples, 0)
    made: dict[str, list[Clip]] = {}
    figures: dict[str, Any] = {
        "recipe": pipeline.recipe.name,
        "steps": pipeline.recipe.train.steps,
        "clips": clips,
        "fade_s": FADE,
        "remake_s": REMAKE,
    }
    for name in groups:
        begin, first = own, 0
        if name == "without end":
            begin = without_end(pipeline, own)
        elif name == "from truth":
            begin, first = [example.clip for example in examples], format.frames
        made[name] = some = JOINS.get(name, continued)(pipeline, examples, begin, total)
        there = 0 if name == "from the start" else len(begin[0].frames)  # type: ignore[arg-type]
        at = seams(pipeline, there, total)
        figures[name] = {
            "seams_s": [k / float(format.fps) for k in at],
            "ranks": {
                what: {
                    "mean": float(rank.mean()),
                    "interval": interval(rank.mean(1)),
                    "high": float((rank > HIGH).mean()),
                    "high_interval": interval((rank > HIGH).mean(1)),
                    "of_each_seam": rank.mean(0).tolist(),
                }
                for what, rank in all_ranks(some, at, first).items()
            },
            "matched": matched(some, at, first),
            "detail": detail(some, at),
        }
    return figures, made[groups[0]]


def rounded(value: Any) -> Any:
    """Figures with four decimals."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Write the figures, and sheets of the first clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--sheet", help="beginning of the names of two pictures of the first clips")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = load(resolve_model(given.model))
    figures, clips = report(pipeline, given.clips)
    figures = {"command": shlex.join(["python", *sys.argv]), **figures}
    given.out.write_text(json.dumps(rounded(figures), indent=1) + "\n", encoding="utf-8")
    if given.sheet:
        examples = held_out(pipeline, given.clips)[:6]
        rows = [
            Row(e.prompt.caption or "", clip, Events().analyse(clip))
            for e, clip in zip(examples, clips)
        ]
        at = ", ".join(f"{second:.3g}" for second in figures[GROUPS[0]]["seams_s"])
        heading = f"{pipeline.recipe.name} goes on from 2 s to 6 s: seams at {at} s"
        for end, drawn in ((".png", False), ("-spectrograms.png", True)):
            contact_sheet(rows, Path(given.sheet + end), heading, spectrograms=drawn)


if __name__ == "__main__":
    main()
