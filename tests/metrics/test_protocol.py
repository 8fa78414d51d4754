"""Analyses in batches, and reasons, of metrics that have them and of those that don't."""

from __future__ import annotations

import pytest
import torch

from harmony_parts.av import AV
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Reference, analyse_all, reason


class Batched:
    """It keeps the sizes of the batches that it gets."""

    def __init__(self, batch):
        self.batch, self.sizes = batch, []

    def analyse_batch(self, clips):
        self.sizes.append(len(clips))
        return [AV(audio=float(clip.waveform[0, 0])) for clip in clips]

    def reason(self, video, audio, reference=None):
        return "" if reference else f"{audio:g} has no reference"


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (9, [5])])
def test_clips_are_read_a_batch_at_a_time_and_keep_their_order(batch, sizes):
    """No clip is read before its batch is needed."""
    read = []

    def clips():
        for k in range(5):
            read.append(k)
            yield Clip(waveform=torch.full((1, 10), float(k)))

    metric = Batched(batch)
    found = analyse_all(metric, clips())
    assert next(found).audio == 0
    assert read == list(range(sizes[0]))
    assert [each.audio for each in found] == [1, 2, 3, 4]
    assert metric.sizes == sizes


def test_reasons_are_those_of_metrics_that_give_them():
    assert reason(Batched(1), AV(audio=2.0)) == "2 has no reference"
    assert reason(Batched(1), AV(audio=2.0), Reference()) == ""
    assert reason(object(), AV()) == ""
