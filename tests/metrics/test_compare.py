"""compare: paired against re-paired, pooled over clips."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from harmony_parts.av import AV, Format
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.compare import compare
from harmony_parts.metrics.correlation import Correlation
from harmony_parts.metrics.events import Events

MADE = [
    Soundstage(seed=77)
    .build(format=Format(fps=12, height=16, width=16, sample_rate=8000, seconds=2.0))
    .example(i)
    for i in range(36)
]
CLIPS = [one.clip for one in MADE]
TRUTHS = [one.events or () for one in MADE]


def test_true_clips_match_and_re_paired_ones_do_not() -> None:
    table = compare(Events(), CLIPS, TRUTHS)
    assert json.loads(json.dumps(table)) == table
    assert table["clips"] == 36
    numbers = table["numbers"]
    for name in ("video_matched", "audio_matched", "f1"):
        assert numbers[name]["paired"] >= 0.98
        # Of two events in about 1.7 s a third lies within 0.1 s of one of the other clip's 2.6.
        assert 0.2 < numbers[name]["repaired"] < 0.4
        assert numbers[name]["repaired_error"] < 0.03
    assert numbers["video_truth_f1"]["paired"] >= 0.98
    assert numbers["audio_truth_f1"]["paired"] >= 0.98
    assert "repaired" not in numbers["video_truth_f1"]
    assert numbers["offset_ms"]["paired"] < 20 < numbers["offset_ms"]["repaired"]
    assert numbers["video_events"]["paired"] == pytest.approx(numbers["video_events"]["repaired"])
    assert numbers["video_events"]["paired"] == pytest.approx(
        np.mean([len(t) for t in TRUTHS]), rel=0.05
    )


def test_correlation_of_true_clips_beats_chance() -> None:
    numbers = compare(Correlation(), CLIPS[:18])["numbers"]
    at_0 = numbers["correlation_at_0"]
    assert at_0["paired"] > at_0["repaired"] + 5 * (at_0["paired_error"] + at_0["repaired_error"])


def test_shares_are_pooled_over_events() -> None:
    class Given(Events):
        """Events that are handed in as the clip."""

        def analyse(self, clip: Clip) -> AV[np.ndarray]:
            return clip  # type: ignore[return-value]

    many, few = (
        AV(video=np.array([0.0, 1, 2, 3]), audio=np.array([0.0, 1, 2, 3])),
        AV(video=np.array([9.0]), audio=np.array([5.0])),
    )
    numbers = compare(Given(), [many, few])["numbers"]  # type: ignore[list-item]
    assert numbers["video_matched"]["paired"] == pytest.approx(4 / 5)
    assert numbers["f1"]["paired"] == pytest.approx(8 / 10)
    assert numbers["video_matched"]["repaired"] == 0
    assert numbers["matched"]["paired"] == 2


def test_same_seed_same_table_and_one_clip_has_no_chance() -> None:
    assert compare(Events(), CLIPS[:5], seed=3) == compare(Events(), CLIPS[:5], seed=3)
    one = compare(Events(), CLIPS[:1])
    assert one["clips"] == 1
    assert all(set(values) == {"paired"} for values in one["numbers"].values())
    assert compare(Events(), []) == {"clips": 0, "numbers": {}}


def test_faults_are_named() -> None:
    with pytest.raises(ValueError, match="2 clips, but truths of 1"):
        compare(Events(), CLIPS[:2], TRUTHS[:1])
    silent = Clip(frames=torch.zeros(24, 8, 8, 3, dtype=torch.uint8), fps=12)
    with pytest.raises(ValueError, match="clip 1 has no sound"):
        compare(Events(), [CLIPS[0], silent])


def test_standard_errors_are_left_out_where_fewer_than_five_clips_have_the_number() -> None:
    few = compare(Events(), CLIPS[:4])
    assert all(set(values) <= {"paired", "repaired"} for values in few["numbers"].values())
    assert "paired_error" in compare(Events(), CLIPS[:5])["numbers"]["f1"]

    class Now(Events):
        """Says of the clips that it is given as numbers just these."""

        def analyse(self, clip: Clip) -> AV[float]:  # type: ignore[override]
            return AV(clip, clip)  # type: ignore[arg-type]

        def score(self, video: float, audio: float, truth: object = None) -> dict[str, float]:  # type: ignore[override]
            return {"all": video} | ({"some": video} if video < 4 else {})

        weights = None

    numbers = compare(Now(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])["numbers"]  # type: ignore[list-item]
    assert numbers["all"]["paired_error"] > 0
    assert numbers["some"] == {"paired": 1.5, "repaired": 1.5}
