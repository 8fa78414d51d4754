"""Making the clips of a demo: each case plain and guided, from the same noise, and written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import torch

from harmony_parts.comparison.columns import passes
from harmony_parts.demo.cases import Asked
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.watch import share, watching
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.plain import plain_way
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric
from harmony_parts.report.text import quantity

PLAIN, TRUTH = "plain", "truth"
SEED_STRIDE = 1000  # between the seeds of two cases: no two demos of small seeds share noise
LARGE = 256  # pixels, about which a clip is enlarged to, for players that smooth

Numbers = Mapping[str, float]


@attrs.frozen(eq=False)
class Made:
    """A clip, its file, what the metrics say of it, and the seconds it took; 0 for the truth."""

    clip: Clip
    file: Path
    numbers: Numbers
    seconds: float = 0.0


@attrs.frozen(eq=False)
class Shown:
    """A case with its clips: the truth, if it is known, then one for each way; and its voice."""

    asked: Asked
    clips: Mapping[str, Made]
    voice: Path | None = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread.

    With tensors this small a second one gains a third on an idle machine and loses much more on a
    busy one; and the same seed gives the same clips on any number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def ways(pipeline: Pipeline) -> dict[str, Guidance]:
    """Name -> guidance: the model's own, or SyncCFG if it has none, and before it the plain way."""
    own = pipeline.recipe.sample.guidance
    if isinstance(own, NoGuidance):
        own = SyncCFG()
    # a sum is called by its term that the plain way lacks
    summed = isinstance(own, Sum) and any(isinstance(term, SyncCFG) for term in own.terms)
    name = SyncCFG if summed else type(own)
    return {PLAIN: plain_way(own), name.__name__: own}


def seeded(asked: Sequence[Asked], seed: int) -> list[Asked]:
    """The cases, each with a seed of its own."""
    return [
        attrs.evolve(each, request=attrs.evolve(each.request, seed=seed + SEED_STRIDE * number))
        for number, each in enumerate(asked)
    ]


def make(
    pipeline: Pipeline,
    asked: Sequence[Asked],
    folder: Path,
    guidances: Mapping[str, Guidance] | None = None,
    *,
    quality: float = 17,
) -> list[Shown]:
    """Generate each case in each way, by default `ways`; measure the clips and write their files.

    A bar shows how much is done, in passes of the denoiser. `quality` is that of `Clip.save`.
    Raises RequestError, before the first clip, if the model can't do what is asked.
    """
    guidances = ways(pipeline) if guidances is None else guidances
    jobs = [
        [
            (way, attrs.evolve(each.request, guidance=guidance), _cost(guidance, pipeline, each))
            for way, guidance in guidances.items()
        ]
        for each in asked
    ]
    for _, request, _ in (job for row in jobs for job in row):
        request.check_model(tuple(pipeline.codecs), pipeline.format)
    write = _Writer(folder, quality, [spec.build() for spec in pipeline.recipe.metrics])
    total, done, shown = sum(cost for row in jobs for _, _, cost in row), 0, []
    folder.mkdir(parents=True, exist_ok=True)
    with watching(True, f"making {quantity(sum(map(len, jobs)), 'clip')}") as watch:
        for each, row in zip(asked, jobs, strict=True):
            clips = {} if each.truth is None else {TRUTH: write(each, TRUTH, each.truth)}
            for way, request, cost in row:
                began = time.perf_counter()
                clip = pipeline.run(request, share(watch, done, cost, total)).clip
                clips[way] = write(each, way, clip, time.perf_counter() - began)
                done += cost
            shown.append(Shown(each, clips, _voice(each, folder)))
    return shown


def _cost(guidance: Guidance, pipeline: Pipeline, asked: Asked) -> int:
    return passes(guidance, pipeline.recipe, asked.request)


@attrs.frozen
class _Writer:
    """Writes clips into a folder and measures them."""

    folder: Path
    quality: float
    metrics: Sequence[Metric]

    def __call__(self, asked: Asked, way: str, clip: Clip, seconds: float = 0.0) -> Made:
        file = self.folder / f"{asked.task}-{asked.name}-{way.lower()}.mp4"
        assert clip.frames is not None
        times = max(1, round(LARGE / clip.frames.shape[2]))
        enlarged(clip, times).save(file, quality=self.quality)
        numbers = measured(clip, self.metrics) if asked.eventful else {}
        return Made(clip, file, numbers, seconds)


def _voice(asked: Asked, folder: Path) -> Path | None:
    if asked.voice is None:
        return None
    return asked.voice.save(folder / f"{asked.task}-{asked.name}-voice.flac")


def enlarged(clip: Clip, times: int) -> Clip:
    """The clip with each pixel repeated, so that players show it sharply."""
    assert clip.frames is not None
    frames = clip.frames.repeat_interleave(times, 1).repeat_interleave(times, 2)
    return attrs.evolve(clip, frames=frames)


def measured(clip: Clip, metrics: Sequence[Metric]) -> dict[str, float]:
    """The numbers of one clip by all metrics."""
    found: dict[str, float] = {}
    for metric in metrics:
        streams = metric.analyse(clip)
        found |= metric.score(streams.video, streams.audio)
    return found
