"""Pipelines: clips depend only on their seeds, given streams stay, and saved models load."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch

from harmony_parts.assembly.read import read_recipe, shipped_recipes
from harmony_parts.av import AV, Prompt
from harmony_parts.errors import RunError
from harmony_parts.flow.heun import Heun
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip
from harmony_parts.testing.contracts.tested import perturbed

SMALL = (
    "denoiser.layers=1",
    "denoiser.video={use='transformer', width=32, heads=2, feed=32, patch=1}",
    "denoiser.audio={use='mmdit', width=32, heads=2, feed=32}",
    "sample.steps=3",
    "format.seconds=0.75",
)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    fresh = Pipeline.assemble(read_recipe("demo", SMALL))
    perturbed(fresh.weights)  # as if trained: no weight is left at zero
    return fresh


@pytest.fixture(scope="module")
def clip(pipeline: Pipeline) -> Clip:
    return pipeline.recipe.data.build(format=pipeline.format).example(0, torch.Generator()).clip


def test_a_clip_depends_only_on_its_own_seed(pipeline: Pipeline) -> None:
    prompts = [Prompt(caption="a red ball"), Prompt(caption="a hammer strikes"), Prompt()]
    together = pipeline.latents(prompts, seeds=[3, 4, 5], guidance=SyncCFG())
    for number, prompt in enumerate(prompts):
        single = pipeline.latents([prompt], seeds=[3 + number], guidance=SyncCFG())
        for stream in ("video", "audio"):
            # the same sums in another order, through three steps
            torch.testing.assert_close(
                single[stream][0], together[stream][number], rtol=1e-3, atol=1e-3
            )
    assert not torch.allclose(together["video"][0], together["video"][1])


def test_the_same_request_gives_the_same_bits(pipeline: Pipeline) -> None:
    first, again = (pipeline.generate("a ball", sound="a thud", seed=7).clip for _ in range(2))
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.waveform, again.waveform)
    other = pipeline.generate("a ball", sound="a thud", seed=8).clip
    assert not torch.equal(first.frames, other.frames)


def test_two_equal_shifts_are_one_shift(pipeline: Pipeline) -> None:
    """Bit for bit, in a request and in a recipe; unequal shifts give another clip."""
    one = ConstantShift(3.0)
    requests = (one, StreamShifts(one, one), StreamShifts(one, ConstantShift(12.0)))
    first, same, other = (pipeline.generate("a ball", seed=7, shift=s).clip for s in requests)
    assert torch.equal(first.frames, same.frames)
    assert torch.equal(first.waveform, same.waveform)
    assert not torch.equal(first.waveform, other.waveform)
    sampling = attrs.evolve(pipeline.recipe.sample, shift=StreamShifts(one, one))
    paired = Pipeline(attrs.evolve(pipeline.recipe, sample=sampling), pipeline.parts)
    assert torch.equal(paired.generate("a ball", seed=7).clip.frames, first.frames)


def test_a_given_sound_stays_as_it_is(pipeline: Pipeline, clip: Clip, tmp_path: Path) -> None:
    stereo = attrs.evolve(
        clip, frames=None, waveform=torch.cat((clip.waveform, -0.5 * clip.waveform))
    )
    made = pipeline.generate(audio=stereo)
    assert torch.equal(made.clip.waveform, stereo.waveform)
    assert made.clip.seconds == clip.seconds
    back = Clip.read(made.save(tmp_path / "x.mp4"))
    assert len(back.frames) == len(clip.frames)
    assert (back.waveform - stereo.waveform).abs().max() <= 2**-23  # FLAC of 24 bits


def test_a_given_video_stays_as_it_is(pipeline: Pipeline, clip: Clip) -> None:
    made = pipeline.generate(video=clip)
    assert torch.equal(made.clip.frames, clip.frames)
    assert made.clip.waveform.shape[-1] == pipeline.format.samples(len(clip.frames))


def test_the_clip_has_the_requested_length(pipeline: Pipeline, clip: Clip) -> None:
    assert pipeline.generate(seconds=0.5).clip.seconds == 0.5
    assert pipeline.generate(audio=clip, seconds=0.25).clip.seconds == 0.25
    with pytest.warns(UserWarning, match="longer than the 0.75 s"):
        assert pipeline.generate(seconds=1.5).clip.seconds == 1.5


def test_a_truncated_text_is_warned_of_once(pipeline: Pipeline) -> None:
    """Once per field that is too long, though encoders read it several times."""
    with pytest.warns(UserWarning, match="a text of .* bytes") as warned:
        pipeline.generate("a wall of bricks " * 20, sound="a rattle " * 30, seconds=0.25)
    assert sorted(str(one.message)[:25] for one in warned) == [
        "a text of 270 bytes ('a r",
        "a text of 340 bytes ('a w",
    ]


def test_a_reference_image_is_the_first_frame(pipeline: Pipeline, clip: Clip) -> None:
    made = pipeline.generate("a ball", image=clip.frames[0], guidance=SyncCFG())
    latents = pipeline.codecs["video"].encode(clip.frames[None, :1])
    shown = pipeline.codecs["video"].decode(latents)[0, 0]
    # the codec rounds to whole levels, and the sampler to float32
    assert (made.clip.frames[0].int() - shown.int()).abs().max() <= 1


def test_a_saved_pipeline_loads_with_the_same_weights(pipeline: Pipeline, tmp_path: Path) -> None:
    again = load(pipeline.save(tmp_path / "model"))
    assert again.recipe == pipeline.recipe
    for name, tensor in pipeline.weights.state_dict().items():
        assert torch.equal(again.weights.state_dict()[name], tensor)
    one, two = (
        p.latents([Prompt(caption="x")], seeds=[0], guidance=NoGuidance())
        for p in (pipeline, again)
    )
    assert torch.equal(one["audio"], two["audio"])


def test_encode_and_decode_agree_on_lengths(pipeline: Pipeline, clip: Clip) -> None:
    latents = pipeline.encode([clip, clip])
    assert isinstance(latents, AV)
    for back in pipeline.decode(latents, len(clip.frames)):
        assert back.frames.shape == clip.frames.shape
        assert back.waveform.shape == clip.waveform.shape


def test_requests_that_cannot_be_fulfilled_are_refused(
    pipeline: Pipeline, clip: Clip, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="both given"):
        pipeline.generate(audio=clip, video=clip)
    with pytest.raises(ValueError, match="given as video has no frames"):
        pipeline.generate(video=attrs.evolve(clip, frames=None))
    with pytest.raises(ValueError, match="given as audio has no sound"):
        pipeline.generate(audio=attrs.evolve(clip, waveform=None))
    with pytest.raises(RunError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"sound must be a single string, not \['a', 'b'\]"):
        pipeline.generate(sound=["a", "b"])
    for wrong in ({"solver": "heun"}, {"solver": Heun}, {"shift": 5.0}, {"guidance": "cfg"}):
        with pytest.raises(
            ValueError, match=f"{next(iter(wrong))} must be a part, such as .*, not "
        ):
            pipeline.generate(**wrong)
    for wrong_latents in (AV(), torch.zeros(1)):
        with pytest.raises(ValueError, match="an AV with the latents of at least one stream"):
            pipeline.decode(wrong_latents)


def test_a_given_clip_is_converted_to_the_format(pipeline: Pipeline) -> None:
    """From twice the frame rate and size, and from half the rate: same picture at the same time."""
    fast = Clip(
        torch.arange(18, dtype=torch.uint8)[:, None, None, None].expand(18, 32, 48, 3) * 10, fps=24
    )
    made = pipeline.generate(video=fast).clip
    assert made.frames.shape == (9, 16, 16, 3)
    assert made.waveform.shape[-1] == pipeline.format.samples(9)
    # what is visible in the middle of each frame
    assert torch.equal(made.frames[:, 0, 0, 0], torch.arange(9, dtype=torch.uint8) * 20 + 10)
    slow = Clip(fast.frames[:4], fps=6)
    assert torch.equal(
        pipeline.generate(video=slow).clip.frames[:, 0, 0, 0],
        torch.tensor([0, 0, 10, 10, 20, 20, 30, 30], dtype=torch.uint8),
    )


def test_a_length_beyond_the_given_video_is_refused(pipeline: Pipeline, clip: Clip) -> None:
    with pytest.raises(ValueError, match=r"2 s are requested, and the given video lasts 0\.75 s"):
        pipeline.generate(video=clip, seconds=2)


def test_fields_that_no_encoder_reads_are_warned_of(pipeline: Pipeline) -> None:
    with pytest.warns(UserWarning, match="this model has no encoder that reads speech or extra"):
        pipeline.generate("a ball", speech="hello", extra={"mood": "merry"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0},
        {"seconds": float("nan")},
        {"seconds": -1},
        {"steps": 0},
        {"guidance": SyncCFG},
    ],
)
def test_invalid_settings_are_refused_not_replaced_by_defaults(
    pipeline: Pipeline, wrong: dict
) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pipeline.generate(**wrong)


def test_lengths_that_do_not_fit_are_refused(pipeline: Pipeline, clip: Clip) -> None:
    with pytest.raises(ValueError, match="1 prompts and 2 seeds"):
        pipeline.latents([Prompt()], seeds=[0, 1])
    with pytest.raises(ValueError, match=r"the given audio is \[1, 10, 32\]"):
        pipeline.latents([Prompt()], seeds=[0], given=AV(audio=torch.zeros(1, 10, 32)))
    with pytest.raises(ValueError, match="1 of 2 clips have sound"):
        pipeline.encode([clip, attrs.evolve(clip, waveform=None)])
    with pytest.raises(ValueError, match="finite"):
        pipeline.generate(audio=attrs.evolve(clip, waveform=clip.waveform * float("nan")))


def test_a_single_stream_is_decoded_without_the_other(pipeline: Pipeline, clip: Clip) -> None:
    latents = pipeline.encode([clip])
    assert pipeline.decode(latents.only(("video",)), 9)[0].waveform is None
    assert pipeline.decode(latents.only(("audio",)), 9)[0].frames is None


def test_a_recipe_with_trainable_weights_is_refused_as_a_model(tmp_path) -> None:
    """Before any of its weights are allocated."""
    file = tmp_path / "demo.toml"
    file.write_text(shipped_recipes()["demo"].read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(RunError, match=r"tensors to train, such as.*harmony train"):
        load(file)
