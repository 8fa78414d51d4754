"""Clips that go on from others: windows, what stays, and given streams."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import RequestError, notes
from harmony_parts.generate.continuation import FADE, plan, windows
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.request import REMAKE
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.media.clip import Clip
from harmony_parts.sample.sampler import Step
from harmony_parts.testing.contracts.tested import perturbed

SMALL = (
    "denoiser.layers=1",
    "denoiser.video={use='transformer', width=32, heads=2, feed=32, patch=1}",
    "denoiser.audio={use='mmdit', width=32, heads=2, feed=32}",
    "sample.steps=2",
    "codecs.audio.iterations=2",
    "format.seconds=0.75",
)
LENGTH = 9  # frames of a window


def assembled(per_latent: int) -> Pipeline:
    """As if trained: no weight is zero. The first latent is one frame, later ones `per_latent`."""
    fresh = Pipeline.assemble(
        read_recipe("demo", (*SMALL, f"codecs.video.frames_per_latent={per_latent}"))
    )
    perturbed(fresh.weights)
    return fresh


@pytest.fixture(scope="module", params=[1, 4], ids=["a frame a latent", "four frames a latent"])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    return assembled(request.param)


def clip(pipeline: Pipeline, frames: int) -> Clip:
    """Noise of `frames` frames."""
    random, format = torch.Generator().manual_seed(frames), pipeline.format
    size = (frames, format.height, format.width, 3)
    picture = torch.randint(256, size, generator=random, dtype=torch.uint8)
    sound = torch.rand(1, format.samples(frames), generator=random) - 0.5
    return Clip(picture, format.fps, sound, format.sample_rate)


@given(
    begin=st.integers(0, 40),
    more=st.integers(1, 60),
    length=st.integers(2, 24),
    overlap=st.integers(1, 23),
    step=st.integers(1, 4),
    remake=st.integers(0, 24),
)
def test_windows_cover_the_clip(begin, more, length, overlap, step, remake):
    """Each begins with whole latents of what is there, at least `overlap` frames if there are so
    many; none is longer than `length`, and only one of a short clip is much shorter. All but the
    last lose their end, if that leaves a latent more than what was there.
    """
    overlap, total = min(overlap, length - 1), begin + more

    def whole(frames: int) -> int:
        return 1 + step * ((frames - 1) // step)

    def kept(frames: int) -> int:
        return whole(max(frames - remake, 1)) if remake else frames

    there = begin
    for window in windows(begin, total, length, overlap, whole, kept):
        assert window.start + window.known == there
        assert window.start >= 0
        assert window.known == (whole(window.known) if there else 0)
        assert window.known >= min(overlap, there) - step + 1
        assert window.known < window.kept <= window.frames <= length
        assert window.frames > min(length, total) - step
        if window.start + window.frames == total:
            assert window.kept == window.frames
        elif window.kept != kept(window.frames):
            assert window.known < window.kept <= window.known + step
            assert kept(window.frames) < window.kept
        there = window.start + window.kept
    assert there == total


@pytest.mark.parametrize("per_second", [30, 2], ids=["short latents", "long latents"])
def test_a_window_loses_a_latent_of_each_stream(per_second: int) -> None:
    """However little is to be made again, and nothing if nothing is."""
    own = (f"codecs.audio.latents_per_second={per_second}", "codecs.video.frames_per_latent=4")
    model = Pipeline.assemble(read_recipe("demo", (*SMALL[:-1], *own)))
    video, audio, format = model.codecs["video"], model.codecs["audio"], model.format
    first, *_ = plan(21, 60, model.codecs, format, 6, 1)
    assert (first.known, first.frames) == (5, 24)
    assert video.frames(video.latents(first.kept)) == first.kept
    assert video.latents(first.kept) < video.latents(first.frames)
    lost = audio.latents(format.samples(first.frames)) - 1
    assert format.samples(first.kept) <= audio.samples(lost)
    assert plan(21, 60, model.codecs, format, 6, 0)[0].kept == 24


def test_the_end_of_a_window_is_made_again(pipeline: Pipeline) -> None:
    """By the next one, from what precedes it: that stays as it was, bit for bit."""
    begin = clip(pipeline, 10)
    (one, two, default), most = (
        [
            pipeline.generate("a ball", begin=begin, seconds=1.5, **setting).clip
            for setting in ({"remake": 0}, {"remake": 0.2}, {})
        ],
        {1: 15, 4: 14}[pipeline.codecs["video"].frames(2) - 1],  # frames of the first window
    )
    assert REMAKE == 0.2
    assert torch.equal(two.frames, default.frames)
    assert torch.equal(two.waveform, default.waveform)
    assert len(one.frames) == len(two.frames) == 28
    assert torch.equal(one.frames[:most], two.frames[:most])
    assert not torch.equal(one.frames[most], two.frames[most])
    kept = pipeline.format.samples(most) - round(FADE * pipeline.format.sample_rate)
    assert torch.equal(one.waveform[:, :kept], two.waveform[:, :kept])
    assert not torch.equal(one.waveform[:, : kept + 200], two.waveform[:, : kept + 200])


def test_a_codec_without_a_short_latent_needs_a_longer_beginning():
    with pytest.raises(RequestError, match="give a longer clip, or a longer overlap"):
        windows(3, 20, 12, 3, lambda frames: 4 * (frames // 4), lambda frames: frames)


def test_an_overlap_without_a_latent_of_sound_is_refused_before_sampling() -> None:
    """In a video-driven task only the sound goes on, and the overlap must hold some of it."""
    model = Pipeline.assemble(read_recipe("demo", (*SMALL, "codecs.audio.latents_per_second=2")))
    mute = attrs.evolve(clip(model, 30), waveform=None)
    steps: list[Step] = []
    refused = r"the overlap of 0\.167 s is shorter than a latent of this model's sound"
    with pytest.raises(RequestError, match=refused):
        model.generate(video=mute, overlap=0.2, progress=steps.append)
    assert not steps
    assert len(model.generate(video=mute, overlap=0.6, remake=0).clip.frames) == 30


@pytest.mark.parametrize("begun", [1, 6, 14])
def test_the_result_is_the_beginning_and_what_follows(pipeline: Pipeline, begun: int) -> None:
    """Its frames bit for bit, its sound up to the fade; the length is the sum."""
    begin = clip(pipeline, begun)
    made = pipeline.generate("a ball", begin=begin, seconds=2.0).clip
    assert len(made.frames) == begun + 24
    assert made.waveform.shape == (1, pipeline.format.samples(begun + 24))
    assert torch.equal(made.frames[:begun], begin.frames)
    kept = begin.waveform.shape[1] - min(
        round(FADE * pipeline.format.sample_rate), begin.waveform.shape[1]
    )
    assert torch.equal(made.waveform[:, :kept], begin.waveform[:, :kept])
    again = pipeline.generate("a ball", begin=begin, seconds=2.0).clip
    assert torch.equal(made.frames, again.frames)
    assert torch.equal(made.waveform, again.waveform)
    other = pipeline.generate("a ball", begin=begin, seconds=2.0, seed=1).clip
    assert not torch.equal(made.frames[begun:], other.frames[begun:])


def test_what_follows_depends_on_the_beginning(pipeline: Pipeline) -> None:
    """Only on its end, as long as the overlap."""
    begin = clip(pipeline, 14)
    made = pipeline.generate(begin=begin).clip
    assert len(made.frames) == 14 + LENGTH - 2  # one window, whose overlap is a quarter
    other = attrs.evolve(begin, frames=begin.frames.clone(), waveform=begin.waveform.clone())
    other.frames[:11] = 0
    other.waveform[:, : pipeline.format.samples(11)] = 0
    same = pipeline.generate(begin=other).clip
    assert torch.equal(made.frames[14:], same.frames[14:])
    other.frames[13] = 0
    changed = pipeline.generate(begin=other).clip
    assert not torch.equal(made.frames[14:], changed.frames[14:])


@pytest.mark.parametrize("stream", ["audio", "video"])
def test_a_given_stream_lasts_from_the_start_of_the_beginning(
    pipeline: Pipeline, stream: str
) -> None:
    """It is kept as a whole; the other one goes on from the beginning, beside an image."""
    whole, begin = clip(pipeline, 30), clip(pipeline, 10)
    made = pipeline.generate(begin=begin, image=whole, **{stream: whole}).clip
    assert len(made.frames) == 30
    if stream == "audio":
        assert torch.equal(made.waveform, whole.waveform)
        assert torch.equal(made.frames[:10], begin.frames)
    else:
        assert torch.equal(made.frames, whole.frames)
        kept = pipeline.format.samples(10) - round(FADE * pipeline.format.sample_rate)
        assert torch.equal(made.waveform[:, :kept], begin.waveform[:, :kept])
    assert len(pipeline.generate(begin=begin, seconds=1, **{stream: whole}).clip.frames) == 22
    with pytest.raises(RequestError, match="nothing is left to generate"):
        pipeline.generate(begin=whole, **{stream: begin})
    sound = attrs.evolve(begin, frames=None)
    if stream == "video":  # a sound alone to go on from
        assert pipeline.generate(begin=sound, video=whole).clip.frames.shape[0] == 30


def test_a_still_image_goes_on(pipeline: Pipeline) -> None:
    """A clip of another size, rate and number of channels is brought to the model's format."""
    large = Clip(torch.zeros(25, 40, 50, 3, dtype=torch.uint8), 25, torch.zeros(2, 44100), 44100)
    made = pipeline.generate(begin=large).clip
    assert made.frames.shape == (12 + LENGTH - 2, 16, 16, 3)
    assert (made.fps, made.sample_rate) == (pipeline.format.fps, pipeline.format.sample_rate)


def test_a_long_clip_is_made_in_windows_from_the_start(pipeline: Pipeline) -> None:
    """Its first window is the clip of the same seed, but for its end."""
    plain = pipeline.generate("a ball", seed=3).clip
    short = pipeline.generate("a ball", seed=3, overlap=0.2).clip
    assert torch.equal(short.frames, plain.frames)
    assert torch.equal(short.waveform, plain.waveform)
    whole = pipeline.generate("a ball", seed=3, seconds=2.5, overlap=0.2, remake=0).clip
    assert len(whole.frames) == 30
    assert whole.waveform.shape == (1, pipeline.format.samples(30))
    assert torch.equal(whole.frames[:LENGTH], plain.frames)
    sure = pipeline.format.samples(LENGTH) - round(FADE * pipeline.format.sample_rate)
    assert torch.equal(whole.waveform[:, :sure], plain.waveform[:, :sure])
    assert not torch.equal(whole.waveform[:, : sure + 200], plain.waveform[:, : sure + 200])
    again = pipeline.generate("a ball", seed=3, seconds=2.5, overlap=0.2).clip
    assert torch.equal(again.frames[: LENGTH - 5], plain.frames[: LENGTH - 5])
    assert not torch.equal(again.frames[:LENGTH], plain.frames)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_finished_windows_are_kept(pipeline, stop, tmp_path, monkeypatch) -> None:
    """If a later one is stopped or fails; one can go on from them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    whole = pipeline.generate("a ball", seconds=2.5, overlap=0.2, steps=2).clip

    def until(last: int) -> BaseException:
        def watch(step: Step) -> None:
            if step.done == last:
                raise stop

        with pytest.raises((KeyboardInterrupt, RuntimeError)) as stopped:
            pipeline.generate("a ball", seconds=2.5, overlap=0.2, steps=2, progress=watch)
        return stopped.value

    assert notes(until(2)) == ()
    assert not list(tmp_path.iterdir())
    (note,) = notes(until(4))
    found = re.fullmatch(
        r"1 of \d windows are finished; the clip is kept as (.*); `begin` .*", note
    )
    assert found
    kept = Clip.read(found[1])
    assert kept.waveform.shape[1] == len(kept.frames) / 12 * kept.sample_rate

    def away(clip: Clip) -> float:
        return float((kept.frames.float() - clip.frames[: len(kept.frames)]).abs().mean())

    # up to the losses of H.264
    assert away(whole) < away(pipeline.generate("a ball", seed=1, steps=2).clip) / 3
    assert len(pipeline.generate("a ball", begin=found[1], seconds=1, steps=1).clip.frames) > 12


@pytest.mark.parametrize("stream", ["audio", "video"])
def test_a_long_given_stream_is_followed_in_windows(pipeline: Pipeline, stream: str) -> None:
    """The given stream is the whole result's; each window reads its own part of it."""
    given = clip(pipeline, 30)
    made = pipeline.generate(overlap=0.2, **{stream: given}).clip
    assert len(made.frames) == 30
    own = {"audio": "waveform", "video": "frames"}
    assert torch.equal(getattr(made, own[stream]), getattr(given, own[stream]))
    late = attrs.evolve(given, frames=given.frames.clone(), waveform=given.waveform.clone())
    late.frames[20:] = 0
    late.waveform[:, pipeline.format.samples(20) :] = 0
    other = pipeline.generate(overlap=0.2, **{stream: late}).clip
    if stream == "audio":
        assert torch.equal(made.frames[: LENGTH - 5], other.frames[: LENGTH - 5])
        assert not torch.equal(made.frames[20:], other.frames[20:])
    else:
        first = pipeline.format.samples(LENGTH - 5)
        assert torch.equal(made.waveform[:, :first], other.waveform[:, :first])
        assert not torch.equal(made.waveform[:, first:], other.waveform[:, first:])


def test_progress_counts_the_steps_of_all_windows(pipeline: Pipeline) -> None:
    seen: list[Step] = []
    pipeline.generate(begin=clip(pipeline, 9), seconds=1.5, progress=seen.append)
    assert [step.done for step in seen] == [*range(1, len(seen) + 1)]
    assert {step.steps for step in seen} == {len(seen)}
    assert len(seen) > 2


def test_a_saved_continuation_can_go_on(pipeline: Pipeline, tmp_path: Path) -> None:
    first = pipeline.generate("a ball").save(tmp_path / "a.mp4")
    second = pipeline.generate("a ball", begin=first).save(tmp_path / "b.mp4")
    assert len(Clip.read(second).frames) == LENGTH + LENGTH - 2


def test_a_model_of_sound_goes_on_from_a_sound() -> None:
    pipeline = assembled(1)
    table = read_recipe("demo", SMALL)
    alone = attrs.evolve(
        table,
        codecs=attrs.evolve(table.codecs, video=None),
        encoders={"sound": table.encoders["sound"]},
        denoiser=read_recipe(
            "demo",
            (
                "denoiser={use='audio-only', layers=1, audio={use='mmdit', width=32, heads=2,"
                " feed=32}}",
            ),
        ).denoiser,
        task=read_recipe("demo", ("task={use='joint'}",)).task,
        train=attrs.evolve(table.train, drop={}),
    )
    model, begin = Pipeline.assemble(alone), clip(pipeline, 9)
    for sound in (begin, attrs.evolve(begin, frames=None)):
        made = model.generate(sound="rain", begin=sound, seconds=1, guidance=NoGuidance()).clip
        assert made.frames is None
        assert made.waveform.shape[1] == alone.format.samples(21)
