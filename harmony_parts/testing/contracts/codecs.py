"""Contract checks of codecs."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import Format
from harmony_parts.codecs.protocol import AudioCodec, AudioCodecSpec, VideoCodec, VideoCodecSpec
from harmony_parts.models.offload import external_modules, part_modules
from harmony_parts.testing.contracts.require import (
    check_made,
    generator,
    no_global_randomness,
    require,
)

TOLERANCE = 1e-3
"""Allowed difference of a sample alone and in a batch, relative to the largest latent: convolutions
choose their order of summation by size.
"""
LEVEL = 3.0
"""Allowed change of a channel's level, beyond the change of the same sound in both channels, in dB:
half the 6 dB that a mean of one sounding and one silent channel would lose.
"""


def check_video_codec(spec: VideoCodecSpec, format: Format, *, frames: int = 9) -> VideoCodec:
    """Build the codec and check the contract of its kind; returns the codec.

    Checked: all modules with weights are in `external_modules`; counts of latents and frames are
    consistent, and the clock covers them; shapes and types both ways; determinism, without a draw
    from the global generator; and independence of the clips in a batch. The clips are `frames`
    frames of noise. Raises PartContractError.
    """
    check_made(spec)
    codec = _built(spec, format, VideoCodec)
    _check_counts(
        spec,
        codec.latents,
        codec.frames,
        codec.clock,
        1 / format.fps,
        (1, 2, 5, frames, format.frames),
    )
    height, width = format.height, format.width
    clips = torch.randint(
        256, (2, frames, height, width, 3), generator=generator(), dtype=torch.uint8
    )
    shape = (2, codec.latents(frames), *codec.grid, codec.channels)
    latents = _check_ways(spec, codec, clips, shape)
    back = codec.decode(latents)
    wanted = [2, codec.frames(shape[1]), height, width, 3]
    require(
        list(back.shape) == wanted and back.dtype == torch.uint8,
        spec,
        f"decode to uint8 {wanted}; it gave {list(back.shape)}",
    )
    return codec


def check_audio_codec(spec: AudioCodecSpec, format: Format, *, seconds: float = 1.0) -> AudioCodec:
    """Build the audio codec and check the contract of its kind, as `check_video_codec`.

    It decodes to float32 [B, channels, samples]. Checked with one channel and with two, whatever
    the format has: a codec that can't encode one of the two numbers raises ValueError in `build`.
    In stereo, left and right aren't exchanged, and each is as loud as the codec makes the same
    sound in both channels, within `LEVEL`. The sound is `seconds` of noise. Raises
    PartContractError.
    """
    check_made(spec)
    codec: AudioCodec = _built(spec, format, AudioCodec)
    _check_sound(spec, codec, format, seconds)
    for channels in {1, 2} - {format.channels}:
        other = attrs.evolve(format, channels=channels)
        try:
            of_other = _built(spec, other, AudioCodec)
        except ValueError:
            continue  # it refuses this number
        _check_sound(spec, of_other, other, seconds)
    return codec


def _check_sound(spec: Any, codec: AudioCodec, format: Format, seconds: float) -> None:
    """Check an audio codec that is built for the format."""
    samples, channels = round(seconds * format.sample_rate), format.channels
    require(
        codec.sound_channels == channels,
        spec,
        f"have the format's {channels} channels in `sound_channels`, not {codec.sound_channels}",
    )
    counts = (1, samples // 3, samples, samples + 1, format.samples(format.frames))
    _check_counts(
        spec, codec.latents, codec.samples, codec.clock, Fraction(1, format.sample_rate), counts
    )
    waves = torch.rand(2, channels, samples, generator=generator()) - 0.5
    latents = _check_ways(spec, codec, waves, (2, codec.latents(samples), codec.channels))
    back, wanted = codec.decode(latents), [2, channels, codec.samples(codec.latents(samples))]
    right = (
        list(back.shape) == wanted and back.dtype == torch.float32 and bool(back.isfinite().all())
    )
    require(
        right, spec, f"decode to finite float32 {wanted}; it gave {back.dtype} {list(back.shape)}"
    )
    if channels == 2:
        _check_sides(spec, codec, samples)


def _check_sides(spec: Any, codec: AudioCodec, samples: int) -> None:
    """Check levels and places of left and right: noise on the left, then weaker noise on the right.

    The reference for each is what the codec makes of the same sound in both channels. A codec whose
    silences aren't quieter than its sounds, because its weights are random, has no levels to keep.
    """
    half = samples // 2
    left, right = 0.5 - torch.rand(2, samples, generator=generator())
    left[half:], right[:half] = 0, 0
    right *= 0.3
    pairs = ((left, left), (right, right), (left, right))
    given = torch.stack([torch.stack(pair) for pair in pairs])
    with torch.no_grad():
        made = codec.decode(codec.encode(given))[..., :samples].to(given)
    # [row, channel, half] in dB: the middle of each half, away from the reach of windows
    levels = torch.stack([_level(made[..., at : at + half]) for at in (0, half)], dim=-1)
    for side, name in enumerate(("left", "right")):
        both, stereo = levels[side, :, side], float(levels[2, side, side])
        if (both - levels[side, :, 1 - side]).max() < 4 * LEVEL:
            continue
        wanted = float(_level((left, right)[side][side * half : (side + 1) * half]))
        error = float((both - wanted).abs().min())
        require(
            abs(stereo - wanted) <= error + LEVEL,
            spec,
            f"keep the level of each channel: sound of {wanted:.1f} dB on the {name} became"
            f" {stereo:.1f} dB; in both channels it changes by {error:.1f} dB",
        )
        apart = stereo - float(levels[2, side, 1 - side])
        require(
            apart > 2 * LEVEL,
            spec,
            f"keep left and right apart: sound on the {name} is only {apart:.1f} dB louder there"
            " than sound on the other side",
        )


def _level(sound: Tensor) -> Tensor:
    """Level of the middle of a sound, [..., samples] -> [...] in dB of full scale."""
    edge = sound.shape[-1] // 5
    power = sound[..., edge:-edge].double().square().mean(-1)
    return 10 * torch.log10(power + 1e-8)


def _built(spec: Any, format: Format, protocol: type) -> Any:
    with no_global_randomness(spec):
        codec = spec.build(format=format)
    require(
        isinstance(codec, protocol),
        spec,
        f"build a {protocol.__name__}, with all members of the protocol",
    )
    used = external_modules(codec)
    listed = isinstance(used, Sequence) and all(isinstance(module, nn.Module) for module in used)
    require(listed, spec, f"have in `external_modules` a tuple of torch modules, not {used!r}")
    listed_weights = {
        id(weight) for module in part_modules(codec) for weight in module.parameters()
    }
    for name, value in getattr(codec, "__dict__", {}).items():
        missing = isinstance(value, nn.Module) and any(
            id(weight) not in listed_weights for weight in value.parameters()
        )
        require(
            not missing,
            spec,
            f"list in `external_modules` all modules that own its weights: {name!r} is missing, and"
            " would never be moved to a GPU",
        )
    return codec


def _check_counts(
    spec: Any, latents: Any, steps: Any, clock: Any, step: Fraction, counts: tuple[int, ...]
) -> None:
    """Check counts and clock for n frames or samples, each of `step` seconds."""
    for n in sorted(counts):
        count = latents(n)
        require(
            count >= 1 and steps(count) >= n,
            spec,
            f"decode to at least {n} from the {count} latents of {n}",
        )
        require(
            latents(steps(count)) == count,
            spec,
            f"encode what {count} latents decode to as {count} latents",
        )
        times = clock(count)
        require(
            times.dtype == torch.float64 and times.shape == (count, 2),
            spec,
            f"have a clock of float64 [{count}, 2]",
        )
        forward = (times[:, 1] > times[:, 0]).all() and (times.diff(dim=0) >= 0).all()
        require(forward, spec, "have a clock whose intervals are not empty and never decrease")
        covered = (
            times[0, 0] <= float(step) / 2 and times[-1, 1] >= float(n * step) - float(step) / 2
        )
        require(covered, spec, f"have a clock that covers all {n} of them")


def _check_ways(spec: Any, codec: Any, given: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Encode twice, alone and in a batch, and decode twice; returns the latents."""
    with no_global_randomness(spec):
        latents = codec.encode(given)
        right = (
            tuple(latents.shape) == shape
            and latents.dtype == torch.float32
            and bool(latents.isfinite().all())
        )
        require(
            right,
            spec,
            f"encode to finite float32 {list(shape)}; it gave {latents.dtype}"
            f" {list(latents.shape)}",
        )
        require(
            torch.equal(codec.encode(given), latents),
            spec,
            "encode the same input to the same latents",
        )
        require(
            torch.equal(codec.decode(latents), codec.decode(latents)),
            spec,
            "decode the same latents to the same output",
        )
    alone = codec.encode(given[1:])
    near = (alone - latents[1:]).abs().max() <= TOLERANCE * latents.abs().max()
    require(near, spec, "encode each clip independently of the others in a batch")
    return latents
