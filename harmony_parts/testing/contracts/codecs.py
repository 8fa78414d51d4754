"""Contract checks of codecs."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from harmony_parts.av import Format
from harmony_parts.codecs.protocol import AudioCodec, AudioCodecSpec, VideoCodec, VideoCodecSpec
from harmony_parts.models.offload import external_modules, part_modules
from harmony_parts.testing.contracts.require import generator, no_global_randomness, require

TOLERANCE = 1e-3
"""Allowed difference of a sample alone and in a batch, relative to the largest latent: convolutions
choose their order of summation by size.
"""


def check_video_codec(spec: VideoCodecSpec, format: Format, *, frames: int = 9) -> VideoCodec:
    """Build the codec and check the contract of its kind; returns the codec.

    Checked: all modules with weights are in `external_modules`; counts of latents and frames are
    consistent, and the clock covers them; shapes and types both ways; determinism, without a draw
    from the global generator; and independence of the clips in a batch. The clips are `frames`
    frames of noise. Raises PartContractError.
    """
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

    It decodes to float32 [B, samples]. The sound is `seconds` of noise. Raises PartContractError.
    """
    codec = _built(spec, format, AudioCodec)
    samples = round(seconds * format.sample_rate)
    counts = (1, samples // 3, samples, samples + 1, format.samples(format.frames))
    _check_counts(
        spec, codec.latents, codec.samples, codec.clock, Fraction(1, format.sample_rate), counts
    )
    waves = torch.rand(2, samples, generator=generator()) - 0.5
    latents = _check_ways(spec, codec, waves, (2, codec.latents(samples), codec.channels))
    back, wanted = codec.decode(latents), [2, codec.samples(codec.latents(samples))]
    right = (
        list(back.shape) == wanted and back.dtype == torch.float32 and bool(back.isfinite().all())
    )
    require(
        right, spec, f"decode to finite float32 {wanted}; it gave {back.dtype} {list(back.shape)}"
    )
    return codec


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
