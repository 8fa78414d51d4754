"""The cosine codec: lossless with all coefficients, causal, one latent for an image, and 30 dB on
real clips with an eighth of the numbers.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.av import Format
from harmony_parts.codecs.dct import DCTVideo, DCTVideoCodec, lapped_cosines
from harmony_parts.codecs.protocol import VideoCodec
from harmony_parts.media.clip import Clip


def built(
    spec: DCTVideo, height: int = 16, width: int = 16, fps: Fraction | int = 25
) -> DCTVideoCodec:
    return spec.build(
        format=Format(
            fps=Fraction(fps), height=height, width=width, sample_rate=16_000, seconds=2.0
        )
    )


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


specs = st.builds(
    DCTVideo,
    block=st.sampled_from([1, 2, 5, 8]),
    frames_per_latent=st.integers(1, 8),
    keep=st.just(0),
    lapped=st.booleans(),
    whiten=st.sampled_from([0.0, 0.5, 1.0]),
)
grids = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(specs, grids, st.integers(1, 20))
def test_all_coefficients_reconstruct_the_frames_exactly(
    spec: DCTVideo, grid: tuple[int, int], count: int
) -> None:
    codec = built(spec, spec.block * grid[0], spec.block * grid[1])
    frames = noise(2, count, spec.block * grid[0], spec.block * grid[1], 3)
    latents = codec.encode(frames)
    assert latents.shape == (2, codec.latents(count), *grid, codec.channels)
    assert latents.dtype == torch.float32
    decoded = codec.decode(latents)
    assert decoded.shape[1] == codec.frames(codec.latents(count))
    assert torch.equal(decoded[:, :count], frames)
    assert torch.equal(decoded[:, count:], frames[:, -1:].expand_as(decoded[:, count:]))


@given(specs, grids, st.integers(1, 5), st.data())
def test_analyse_inverts_synthesise(
    spec: DCTVideo, grid: tuple[int, int], count: int, data: st.DataObject
) -> None:
    most = 3 * spec.frames_per_latent * spec.block**2
    spec = DCTVideo(
        spec.block,
        spec.frames_per_latent,
        data.draw(st.integers(1, most)),
        spec.lapped,
        spec.whiten,
    )
    codec = built(spec, spec.block * grid[0], spec.block * grid[1])
    latents = torch.randn(
        1,
        count,
        *grid,
        codec.channels,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(1),
    )
    again = codec.analyse(codec.synthesise(latents))
    torch.testing.assert_close(again[:, 1:], latents[:, 1:])
    first = again[:, :1]  # the first latent encodes a static frame: its temporal terms are 0
    torch.testing.assert_close(first, torch.where(first.abs() < 1e-9, first, latents[:, :1]))
    assert first.abs().max() > 1e-3


@given(specs, st.integers(1, 4))
def test_without_whitening_it_is_a_rotation_times_one_scale(spec: DCTVideo, count: int) -> None:
    codec = built(
        DCTVideo(spec.block, spec.frames_per_latent, 0, spec.lapped, 0.0),
        2 * spec.block,
        3 * spec.block,
    )
    shape = (2, codec.frames(count), 2 * spec.block, 3 * spec.block, 3)
    video = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    energy = video.square().flatten(2).sum(2)
    energy[:, 0] *= spec.frames_per_latent  # the first frame is repeated that often
    ratio = codec.analyse(video).square().flatten(1).sum(1) / energy.sum(1)
    torch.testing.assert_close(ratio[0], ratio[1])


@settings(max_examples=15)
@given(specs.filter(lambda spec: spec.block > 1))
def test_more_coefficients_never_increase_the_error(spec: DCTVideo) -> None:
    k, size = spec.frames_per_latent, 2 * spec.block
    video = torch.randn(
        1, 1 + k, size, size, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    weight = torch.ones(1 + k, dtype=torch.float64)
    weight[0] = k
    errors = []
    for share in (0.1, 0.4, 0.7, 1.0):
        codec = built(
            DCTVideo(
                spec.block, k, math.ceil(share * 3 * k * spec.block**2), spec.lapped, spec.whiten
            ),
            size,
            size,
        )
        errors.append(
            float(
                (
                    (codec.synthesise(codec.analyse(video)) - video).square().mean((0, 2, 3, 4))
                    * weight
                ).sum()
            )
        )
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-20 < errors[0]


@given(
    st.integers(1, 8),
    st.integers(1, 60),
    st.sampled_from([Fraction(24), Fraction(25, 2), Fraction(30_000, 1001)]),
)
def test_counts_and_clock_agree(k: int, count: int, fps: Fraction) -> None:
    codec = built(DCTVideo(frames_per_latent=k, keep=1), fps=fps)
    assert isinstance(codec, VideoCodec)
    latents = codec.latents(count)
    assert codec.frames(latents) >= count
    assert latents == 1 or codec.frames(latents - 1) < count
    clock = codec.clock(latents)
    assert clock.dtype == torch.float64
    expected = [(0.0, float(1 / fps))] + [
        (float((1 + k * (n - 1)) / fps), float((1 + k * n) / fps)) for n in range(1, latents)
    ]
    torch.testing.assert_close(
        clock, torch.tensor(expected, dtype=torch.float64), rtol=1e-15, atol=0
    )
    assert torch.equal(clock[1:, 0], clock[:-1, 1])


@given(specs, st.integers(2, 12))
def test_a_repeated_image_has_the_latent_of_the_image_at_every_position(
    spec: DCTVideo, count: int
) -> None:
    codec = built(spec, 2 * spec.block, spec.block)
    image = noise(2, 1, 2 * spec.block, spec.block, 3)
    one = codec.encode(image)
    assert one.shape[1] == 1
    many = codec.encode(image.expand(-1, count, -1, -1, -1))
    # float32 sums of up to k values of 1 / CONTRAST, times what whitening multiplies by at most
    torch.testing.assert_close(
        many, one.expand_as(many), rtol=1e-5, atol=1e-5 * float(one.abs().max())
    )
    assert torch.equal(codec.decode(one), image)


@settings(max_examples=20)
@given(specs, st.integers(0, 3))
def test_latents_are_causal(spec: DCTVideo, past: int) -> None:
    codec = built(spec, spec.block, spec.block)
    frames = noise(1, codec.frames(5), spec.block, spec.block, 3)
    other = noise(1, codec.frames(5), spec.block, spec.block, 3, seed=1)
    other[:, : codec.frames(past + 1)] = frames[:, : codec.frames(past + 1)]
    a, b = codec.encode(frames), codec.encode(other)
    torch.testing.assert_close(
        a[:, : past + 1], b[:, : past + 1], rtol=0, atol=1e-6 * float(a.abs().max())
    )
    assert not torch.allclose(a[:, past + 1 :], b[:, past + 1 :], atol=1e-3)


@given(st.integers(1, 9), st.integers(1, 4))
def test_the_lapped_transform_is_orthonormal_and_a_constant_needs_one_coefficient(
    block: int, blocks: int
) -> None:
    matrix = lapped_cosines(block * blocks, block)
    torch.testing.assert_close(
        matrix @ matrix.T, torch.eye(block * blocks, dtype=torch.float64), rtol=0, atol=1e-14
    )
    expected = torch.zeros(blocks, block, dtype=torch.float64)
    expected[:, 0] = math.sqrt(block)
    torch.testing.assert_close(matrix.sum(1), expected.flatten(), rtol=0, atol=1e-13)


def test_errors_name_the_wrong_size_or_type() -> None:
    with pytest.raises(ValueError, match="height 20 is not a multiple of block 8"):
        built(DCTVideo(), 20, 16)
    with pytest.raises(ValueError, match="keep 200 is more than the 192 coefficients"):
        built(DCTVideo(keep=200, frames_per_latent=1))
    codec = built(DCTVideo())
    with pytest.raises(ValueError, match=r"uint8 \[B, F, 16, 16, 3\], not torch.float32"):
        codec.encode(torch.zeros(1, 1, 16, 16, 3))
    with pytest.raises(ValueError, match=r"\[B, T, 2, 2, 88\], not \[1, 1, 2, 2, 87\]"):
        codec.decode(torch.zeros(1, 1, 2, 2, 87))
    with pytest.raises(ValueError, match="at least one frame"):
        codec.encode(noise(1, 0, 16, 16, 3))


def test_real_clips_reach_30_db_with_an_eighth_of_the_numbers(real: dict[str, Clip]) -> None:
    squares, gains = [], []
    for name, clip in real.items():
        frames = clip.frames
        assert frames is not None
        quality = {}
        for lapped in (True, False):
            codec = built(DCTVideo(lapped=lapped), frames.shape[1], frames.shape[2], fps=clip.fps)
            latents = codec.encode(frames[None])
            error = (
                (codec.decode(latents)[0, : len(frames)].float() - frames.float()).square().mean()
            )
            quality[lapped] = 10 * math.log10(255**2 / float(error))
        fewer = frames.numel() / latents.numel()
        print(
            f"{name}: {quality[True]:.2f} dB, {quality[False]:.2f} without lapping, {fewer:.2f}"
            " times fewer numbers"
        )
        assert latents.numel() * 8 <= frames.numel(), name
        assert quality[True] >= 30, name
        gains.append(quality[True] - quality[False])
        squares.append(latents.square().mean())
        assert latents.mean().abs() < 0.25, name
    assert sum(gains) > 0  # overlapping blocks improve the quality
    assert 0.8 < torch.stack(squares).mean().sqrt() < 1.25  # about unit scale
