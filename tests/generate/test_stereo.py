"""A model of stereo sound, from media to files, and what a mono one does with stereo."""

from __future__ import annotations

import math
from pathlib import Path

import attrs
import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe, write_recipe
from harmony_parts.av import Prompt
from harmony_parts.cost.report import latent_lines
from harmony_parts.errors import RequestError, RunError
from harmony_parts.generate.continuation import FADE, continue_clip
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.request import Request
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.latents.encode import encode_clips, encode_examples
from harmony_parts.media.clip import Clip
from harmony_parts.train.loop import train

SMALL = (
    "denoiser.layers=1",
    "denoiser.video={use='transformer', width=32, heads=2, feed=32, patch=1}",
    "denoiser.audio={use='mmdit', width=32, heads=2, feed=32}",
    "sample.steps=2",
    "format.seconds=0.75",
    "codecs.audio.iterations=4",
)


@pytest.fixture(scope="module")
def stereo() -> Pipeline:
    return Pipeline.assemble(read_recipe("demo", (*SMALL, "format.channels=2")))


@pytest.fixture(scope="module")
def mono() -> Pipeline:
    return Pipeline.assemble(read_recipe("demo", SMALL))


@pytest.fixture(scope="module")
def clip(stereo: Pipeline) -> Clip:
    """Noise on the left in the first third, 12 dB weaker on the right in the last third."""
    one = stereo.recipe.data.build(format=stereo.format).example(0, torch.Generator()).clip
    wave = 0.5 * torch.randn(one.waveform.shape, generator=torch.Generator().manual_seed(0))
    third = wave.shape[1] // 3
    wave[0, third:], wave[1, : 2 * third] = 0, 0
    wave[1] *= 0.25
    return attrs.evolve(one, waveform=wave.clamp(-1, 1))


def level(sound: torch.Tensor) -> float:
    return 10 * math.log10(float(sound.square().mean()) + 1e-9)


def test_a_stereo_clip_comes_back_from_its_latents(stereo: Pipeline, clip: Clip) -> None:
    (back,) = stereo.decode(stereo.encode([clip]), len(clip.frames))
    assert back.waveform.shape == clip.waveform.shape
    third = clip.waveform.shape[1] // 3
    for side, part in ((0, slice(0, third)), (1, slice(2 * third, None))):
        assert abs(level(back.waveform[side, part]) - level(clip.waveform[side, part])) < 1
        # nearly nothing of it is on the other side
        assert level(back.waveform[1 - side, part]) < level(back.waveform[side, part]) - 40


def test_a_stereo_model_generates_stereo_files(stereo: Pipeline, tmp_path: Path) -> None:
    made = stereo.generate("a ball", seed=1)
    assert made.clip.waveform.shape == (2, stereo.format.samples(len(made.clip.frames)))
    assert not torch.equal(made.clip.waveform[0], made.clip.waveform[1])
    again = Clip.read(made.save(tmp_path / "x.mkv")).waveform  # lossless, 24 bits
    torch.testing.assert_close(again, made.clip.waveform.clamp(-1, 1), rtol=0, atol=2**-22)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_media_are_brought_to_the_formats_channels(
    stereo: Pipeline, mono: Pipeline, channels: int
) -> None:
    """For a voice and a given sound, which keeps its own channels in the result."""
    wave = torch.rand(channels, 6000, generator=torch.Generator().manual_seed(1)) - 0.5
    sound = Clip(waveform=wave, sample_rate=8000)
    for pipeline in (stereo, mono):
        same = sound.with_channels(pipeline.format.channels)
        for given in ("voice", "audio"):
            one, two = (
                pipeline.generate("a ball", seed=2, guidance=SyncCFG(), **{given: each}).clip
                for each in (sound, same)
            )
            assert torch.equal(one.frames, two.frames)
            if given == "audio":
                assert torch.equal(one.waveform, wave[:, : one.waveform.shape[1]])
            else:
                assert torch.equal(one.waveform, two.waveform)


def test_a_stereo_clip_goes_on_in_stereo(stereo: Pipeline, clip: Clip) -> None:
    """Its sides stay its own up to the fade, a mono clip goes on as equal sides, and what follows
    depends on each side.
    """
    made = stereo.generate("a ball", begin=clip, seconds=0.5).clip.waveform
    kept = clip.waveform.shape[1] - round(FADE * clip.sample_rate)
    assert made.shape == (2, stereo.format.samples(len(clip.frames) + 6))
    assert torch.equal(made[:, :kept], clip.waveform[:, :kept])
    assert not torch.equal(made[0, kept:], made[1, kept:])
    swapped = attrs.evolve(clip, waveform=clip.waveform.flip(0))
    other = stereo.generate("a ball", begin=swapped, seconds=0.5).clip.waveform
    assert torch.equal(other[:, :kept], made[:, :kept].flip(0))
    assert not torch.equal(other[:, kept:], made[:, kept:])
    alone = attrs.evolve(clip, waveform=clip.waveform[:1])
    both = stereo.generate("a ball", begin=alone, seconds=0.5).clip.waveform
    assert torch.equal(both[:, :kept], alone.waveform[:, :kept].expand(2, -1))


def test_a_window_is_given_each_side_in_its_place(stereo: Pipeline, clip: Clip) -> None:
    """Of what is there, and of a given sound."""
    whole = torch.cat((clip.waveform, 0.5 * clip.waveform), dim=1)
    seen: list[tuple[Clip | None, Clip]] = []

    def generate(frames, seeds, given, draft, begin, progress):
        seen.append((given[0] if given else None, begin[0]))
        return [attrs.evolve(clip, frames=clip.frames[:frames])]

    for asked in (
        Request(begin=clip, seconds=0.5),
        Request(begin=clip, seconds=0.5, audio=attrs.evolve(clip, frames=None, waveform=whole)),
    ):
        inputs = asked.inputs(stereo.format)
        continue_clip(inputs, 0, stereo.codecs, stereo.format, generate, None)
    (_, begin), (given, picture) = seen
    first = stereo.format.samples(6)  # of the window, which begins with 3 frames of what is there
    known = begin.waveform.shape[1]  # whole latents
    assert known > 1500
    assert torch.equal(begin.waveform, clip.waveform[:, first : first + known])
    assert picture.waveform is None
    assert torch.equal(given.waveform, whole[:, first : first + 6000])


def test_channels_without_a_rule_are_refused_by_name(stereo: Pipeline) -> None:
    for field in ("voice", "audio"):
        with pytest.raises(RequestError, match=f"{field}: sound of 3 channels can't become 2"):
            stereo.generate("a ball", **{field: Clip(waveform=torch.zeros(3, 800))})


def test_a_clip_of_other_channels_is_refused(stereo: Pipeline, mono: Pipeline, clip: Clip) -> None:
    """Where it must be in the format already."""
    with pytest.raises(ValueError, match=r"\[B, 1, samples\], .* not torch.float32 \[1, 2, "):
        encode_clips([clip], mono.codecs, torch.device("cpu"))
    assert torch.equal(mono.encode([clip]).audio, mono.encode([clip.with_channels(1)]).audio)
    example = attrs.evolve(
        mono.recipe.data.build(format=mono.format).example(0, torch.Generator()), clip=clip
    )
    with pytest.raises(RunError, match=r"6000 samples at 8000 Hz, stereo; .* 8000 Hz, mono"):
        encode_examples([example], mono.format, mono.codecs, torch.device("cpu"))
    encode_examples([example], stereo.format, stereo.codecs, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"voice of prompt 0 must be float32 \[2, samples\]"):
        stereo.conditions([Prompt(voice=torch.zeros(1, 800))])


def test_a_stereo_model_is_trained_saved_and_loaded(tmp_path: Path) -> None:
    recipe = tiny.recipe(steps=2)
    recipe = attrs.evolve(recipe, format=attrs.evolve(recipe.format, channels=2))
    assert "channels = 2" in write_recipe(recipe)
    model = train(recipe, out=tmp_path / "run", progress=False, device="cpu")
    assert "sound at 4000 Hz, stereo" in (model / "README.md").read_text()
    again = load(model)
    assert again.recipe.format.channels == 2
    assert again.generate("a ball", seed=0).clip.waveform.shape == (2, 4000)


def test_a_recipe_without_channels_is_mono() -> None:
    recipe = read_recipe("demo")
    assert recipe.format.channels == 1
    with pytest.raises(Exception, match="channels"):
        read_recipe("demo", ["format.channels=0"])


def test_the_report_counts_the_numbers_of_all_channels() -> None:
    """Twice the samples in twice the numbers."""
    lines = {
        n: latent_lines(build(read_recipe("demo", [f"format.channels={n}"]), 0)) for n in (1, 2)
    }
    assert "at 8000 Hz, mono" in lines[1][0]
    assert "at 8000 Hz, stereo" in lines[2][0]
    ratio = "fewer numbers than the samples"
    (one,), (two,) = ([line for line in lines[n] if ratio in line] for n in (1, 2))
    assert one.split(": ")[1] == two.split(": ")[1]
