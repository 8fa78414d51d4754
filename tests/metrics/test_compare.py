"""Means over clips: paired and re-paired, weighted, with standard errors."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest
import torch

from harmony_parts.av import AV, Format
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.compare import (
    Compared,
    Scored,
    compare,
    compare_analyses,
    compare_scored,
    score_pairs,
    student_t,
)
from harmony_parts.metrics.compare_two import compare_two
from harmony_parts.metrics.correlation import Correlation
from harmony_parts.metrics.events import Events
from harmony_parts.metrics.protocol import Reference

MADE = [
    Soundstage(seed=77)
    .build(format=Format(fps=12, height=16, width=16, sample_rate=8000, seconds=2.0))
    .example(i)
    for i in range(36)
]
CLIPS = [one.clip for one in MADE]
TRUTHS = [one.events or () for one in MADE]


def test_true_clips_match_and_re_paired_ones_do_not() -> None:
    numbers = compare(Events(), CLIPS, TRUTHS)
    for name in ("video_matched", "audio_matched", "f1"):
        assert numbers[name].paired >= 0.98
        # Of two events in about 1.7 s a third lies within 0.1 s of one of the other clip's 2.6.
        assert 0.2 < numbers[name].repaired < 0.4
        assert numbers[name].repaired_error < 0.03
    assert numbers["video_truth_f1"].paired >= 0.98
    assert numbers["audio_truth_f1"].paired >= 0.98
    assert numbers["video_truth_f1"].repaired is None
    assert numbers["offset_ms"].paired < 20 < numbers["offset_ms"].repaired
    assert numbers["video_events"].paired == pytest.approx(numbers["video_events"].repaired)
    assert numbers["video_events"].paired == pytest.approx(
        np.mean([len(t) for t in TRUTHS]), rel=0.05
    )


def test_json_has_the_defined_fields() -> None:
    written = compare(Events(), CLIPS[:5], TRUTHS[:5])["video_truth_f1"].json()
    assert json.loads(json.dumps(written)) == written
    assert set(written) == {"n", "cases", "paired", "paired_error"}
    written = compare(Events(), CLIPS[:5])["f1"].json()
    names = ("paired", "repaired", "difference")
    assert set(written) == {"n", "cases", *names, *(f"{name}_error" for name in names)}


def test_correlation_of_true_clips_beats_chance() -> None:
    at_0 = compare(Correlation(), CLIPS[:18])["correlation_at_0"]
    assert at_0.difference > 5 * at_0.difference_error


def test_shares_are_pooled_over_events() -> None:
    many, few = (
        AV(video=np.array([0.0, 1, 2, 3]), audio=np.array([0.0, 1, 2, 3])),
        AV(video=np.array([9.0]), audio=np.array([5.0])),
    )
    numbers = compare_analyses(Events(), [many, few])
    assert numbers["video_matched"].paired == pytest.approx(4 / 5)
    assert numbers["f1"].paired == pytest.approx(8 / 10)
    assert numbers["video_matched"].repaired == 0
    assert numbers["matched"].paired == 2


def test_the_same_seed_gives_the_same_errors() -> None:
    assert compare(Events(), CLIPS[:5], seed=3) == compare(Events(), CLIPS[:5], seed=3)


def test_one_clip_is_not_re_paired_and_no_clips_give_no_numbers() -> None:
    one = compare(Events(), CLIPS[:1])
    assert all(set(number.json()) == {"n", "cases", "paired"} for number in one.values())
    assert compare(Events(), []) == {}


def test_faults_are_named() -> None:
    with pytest.raises(ValueError, match="2 clips, but 1 truths"):
        compare(Events(), CLIPS[:2], TRUTHS[:1])
    with pytest.raises(ValueError, match="2 clips, but 3 references"):
        compare(Events(), CLIPS[:2], references=[Reference()] * 3)
    silent = Clip(frames=torch.zeros(24, 8, 8, 3, dtype=torch.uint8), fps=12)
    with pytest.raises(ValueError, match="clip 1 has no sound, which the metric reads"):
        compare(Events(), [CLIPS[0], silent])


@attrs.frozen
class Words:
    """Stands for a word error rate: it reads only the sound, and compares it with a transcript."""

    reads = ("audio",)

    def analyse(self, clip: Clip) -> AV[str]:
        return AV(audio=f"{clip.waveform.shape[1]} samples")

    def score(
        self, video: None, audio: str, truth: object = None, reference: Reference | None = None
    ) -> dict[str, float]:
        assert video is None
        found = {"length": float(len(audio))}
        return found | ({"right": float(reference.transcript == audio)} if reference else {})


def test_a_metric_of_one_stream_is_never_re_paired() -> None:
    sounds = [attrs.evolve(clip, frames=None) for clip in CLIPS[:5]]
    numbers = compare(Words(), sounds)
    assert numbers.keys() == {"length"}
    assert numbers["length"].paired_error is not None
    assert numbers["length"].repaired is None


def test_each_clip_is_scored_with_its_own_reference() -> None:
    (analysed,) = {Words().analyse(clip).audio for clip in CLIPS[:2]}
    references = [Reference(transcript=analysed), Reference(transcript="other words")]
    assert compare(Words(), CLIPS[:2], references=references)["right"].paired == 0.5


class Plain:
    """Its numbers are the picture's analysis itself."""

    def score(
        self, video: float, audio: float, truth: object = None, reference: object = None
    ) -> dict[str, float]:
        return {"all": video} | ({"some": video} if video < 4 else {})


def test_standard_errors_are_left_out_if_fewer_than_five_clips_have_the_number() -> None:
    few = compare(Events(), CLIPS[:4])
    assert all(
        set(number.json()) <= {"n", "cases", "paired", "repaired", "difference"}
        for number in few.values()
    )
    assert compare(Events(), CLIPS[:5])["f1"].paired_error is not None

    numbers = compare_analyses(Plain(), [AV(float(n), float(n)) for n in range(6)])
    assert numbers["all"].paired_error > 0
    some = {"n": 4, "cases": 4, "paired": 1.5, "repaired": 1.5, "difference": 0.0}
    assert numbers["some"].json() == some
    assert Compared(n=4, cases=4, repaired=1.0, repaired_error=0.1).interval("repaired") is None


@attrs.frozen
class Agreement:
    """0.3 + 0.1 p + 0.2 s + 0.4 exp(-(x - y)^2), pooled over m: x, p, m of a picture, y, s of a
    sound. So each picture and each sound has an effect on all its pairs.
    """

    def score(
        self, video: tuple, audio: tuple, truth: object = None, reference: object = None
    ) -> dict[str, float]:
        (x, p, m), (y, s) = video, audio
        near = np.exp(-((x - y) ** 2))
        return {"agreement": 0.3 + 0.1 * p + 0.2 * s + 0.4 * near, "events": m}

    def weights(self, numbers: dict[str, float]) -> dict[str, float]:
        return {"agreement": numbers["events"]}


TRUTH = {
    "paired": 0.3 + 0.4 / np.sqrt(1 + 2 * 0.25),
    "repaired": 0.3 + 0.4 / np.sqrt(1 + 2 * 2.25),
}
"""x ~ N(0, 1) and y = x + N(0, 0.25), so E exp(-(x - y)^2) = 1 / sqrt(1 + 2 var(x - y))."""
TRUTH["difference"] = TRUTH["paired"] - TRUTH["repaired"]


def simulated(
    rng: np.random.Generator, n: int, seeds: int = 1, own: float = 1.0
) -> tuple[list[AV], list[int]]:
    """(clips of n cases, each with some seeds; the case of each).

    A share `own` of the variance of x, p and s is the seed's, the rest is shared by a case.
    """
    case = np.repeat(np.arange(n), seeds)
    shared, single = rng.normal(size=(3, n))[:, case], rng.normal(size=(3, n * seeds))
    x, p, s = np.sqrt(1 - own) * shared + np.sqrt(own) * single
    y, m = x + 0.5 * rng.normal(size=len(x)), 1.0 + rng.poisson(2.0, len(x))
    return [AV(picture, sound) for picture, sound in zip(zip(x, p, m), zip(y, s))], list(case)


def covered(n: int, sets: int, seeds: int = 1, own: float = 1.0) -> dict[str, float]:
    """The share of simulated sets of n cases whose 95 % interval contains the true mean."""
    rng, hits = np.random.default_rng(n), dict.fromkeys(TRUTH, 0)
    for seed in range(sets):
        made, cases = simulated(rng, n, seeds, own)
        found = compare_analyses(Agreement(), made, cases=cases, seed=seed)["agreement"]
        for name, truth in TRUTH.items():
            low, high = found.interval(name)
            hits[name] += low <= truth <= high
    shares = {name: hit / sets for name, hit in hits.items()}
    print(n, seeds, shares)
    return shares


STUDENT = {4: 2.776, 9: 2.262, 23: 2.069, 49: 2.010}  # 0.975 quantiles by degrees of freedom


def test_students_t_is_that_of_the_tables() -> None:
    for freedom, quantile in STUDENT.items():
        assert student_t(freedom) == pytest.approx(quantile, rel=5e-3)


def test_errors_cover_the_truth_in_few_sets() -> None:
    """Of 100 sets 95 +- 2.2 are expected; an error of half the size would cover 68."""
    assert all(share >= 0.88 for share in covered(12, 100).values())


def test_seeds_of_a_case_are_not_independent() -> None:
    """With 4 seeds that share 90 % of their variance, errors over clips would be half as large."""
    made, cases = simulated(np.random.default_rng(0), 12, 4, 0.1)
    by_case = compare_analyses(Agreement(), made, cases=cases)["agreement"]
    by_clip = compare_analyses(Agreement(), made)["agreement"]
    assert (by_case.n, by_case.cases, by_clip.cases) == (48, 12, 48)
    assert by_case.paired == by_clip.paired
    assert by_case.paired_error > 1.5 * by_clip.paired_error


def test_chance_is_over_other_cases() -> None:
    """Sounds of the same case agree with the picture beyond chance."""
    twice = [AV(video=np.array([t]), audio=np.array([t])) for t in (1.0, 1.0, 5.0, 5.0)]
    assert compare_analyses(Events(), twice, cases="aabb")["f1"].repaired == 0
    assert compare_analyses(Events(), twice)["f1"].repaired == pytest.approx(1 / 3)


def side(rng: np.random.Generator, hard: np.ndarray, plus: float) -> Scored:
    """Plain numbers of cases that are hard for both sides."""
    values = hard + plus + 0.1 * rng.normal(size=len(hard))
    clips = [AV(float(value), 0.0) for value in values]
    return score_pairs(Plain(), clips, cases=list(range(len(hard))))


def test_two_sides_of_the_same_cases_cancel_what_is_hard_for_both() -> None:
    """And their intervals cover the truth."""
    rng, hits = np.random.default_rng(1), 0
    for seed in range(8):
        hard = rng.normal(size=20)
        first, second = side(rng, hard, 0.2), side(rng, hard, 0.0)
        found = compare_two(first, second, seed=seed)["all"]
        low, high = found.interval("paired")
        hits += low <= 0.2 <= high
        assert found.paired_error < 0.06 < compare_scored(first)["all"].paired_error
    assert hits >= 6


def test_two_sides_of_other_cases_are_independent() -> None:
    rng = np.random.default_rng(2)
    first, second = side(rng, rng.normal(size=30), 0.0), side(rng, rng.normal(size=30), 0.0)
    second = attrs.evolve(second, cases=[f"other {case}" for case in second.cases])
    found = compare_two(first, second)["all"].paired_error
    errors = [compare_scored(one)["all"].paired_error for one in (first, second)]
    assert found == pytest.approx(np.hypot(*errors), rel=0.15)
    some = attrs.evolve(second, cases=[*first.cases[:12], *second.cases[12:]])
    assert compare_two(first, some)["all"].cases == 12


def test_paired_errors_are_those_of_the_mean() -> None:
    """s / sqrt(n), to the 3.2 % of 500 draws, four times."""
    values = np.random.default_rng(0).normal(size=30)
    number = compare_analyses(Plain(), [AV(float(v), 0.0) for v in values])["all"]
    assert number.paired_error == pytest.approx(values.std(ddof=1) / np.sqrt(30), rel=0.13)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "seeds"), [(10, 1), (24, 1), (50, 1), (10, 3), (24, 3)])
def test_intervals_of_95_percent_cover_92_to_99(n: int, seeds: int) -> None:
    assert all(0.92 <= share <= 0.99 for share in covered(n, 500, seeds, 0.5).values())
