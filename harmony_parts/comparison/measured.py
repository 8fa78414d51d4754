"""Clips measured one by one, and together against chance."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import attrs

from harmony_parts.av import AV
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.compare import Compared, Scored, compare_scored, score_pairs
from harmony_parts.metrics.protocol import Metric, Reference, reason, streams_read


class Measured:
    """The numbers of clips by name: `numbers[clip][metric][number]`, and in words why a metric
    can't tell others: `reasons[clip][metric]`.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = metrics
        self.numbers: dict[str, dict[str, dict[str, float]]] = {}
        self.reasons: dict[str, dict[str, str]] = {}
        self._analyses: dict[str, dict[str, AV[Any]]] = {}
        self._references: dict[str, Reference] = {}

    def measure(self, name: str, clip: Clip, reference: Reference | None = None) -> None:
        """Measure a clip by every metric whose streams it has."""
        reference = attrs.evolve(reference or Reference(), name=name)
        has = {"video": clip.frames is not None, "audio": clip.waveform is not None}
        analyses = {
            key: metric.analyse(clip)
            for key, metric in self.metrics.items()
            if all(has[stream] for stream in streams_read(metric))
        }
        self._analyses[name], self._references[name] = analyses, reference
        self.numbers[name] = {
            key: self.metrics[key].score(found.video, found.audio, None, reference)
            for key, found in analyses.items()
        }
        self.reasons[name] = {
            key: why
            for key, found in analyses.items()
            if (why := reason(self.metrics[key], found, reference))
        }

    def scored(self, cases: Sequence[tuple[str, Hashable]]) -> dict[str, Scored]:
        """All pairs of the measured ones of some clips, scored by each metric.

        `cases` are pairs of a clip's name and its case. Clips of a single case are each their own.
        """
        found: dict[str, Scored] = {}
        for key, metric in self.metrics.items():
            of = [(name, case) for name, case in cases if key in self._analyses.get(name, {})]
            alone = len({case for _, case in of}) < 2
            found[key] = score_pairs(
                metric,
                [self._analyses[name][key] for name, _ in of],
                references=[self._references[name] for name, _ in of],
                cases=[name if alone else case for name, case in of],
            )
        return found

    def together(self, cases: Sequence[tuple[str, Hashable]]) -> dict[str, dict[str, Compared]]:
        """The means of some clips by metric and number, paired and re-paired."""
        return {key: compare_scored(scored) for key, scored in self.scored(cases).items()}
