"""Denoisers of one stream: plain Wan2.2, and the first two stages of audio training (section 4).

Weights have the same names as in a dual-branch denoiser, so two models of one stream can be joined.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from harmony_parts.av import AV
from harmony_parts.branches.protocol import AudioBranchSpec, BranchSpec, VideoBranchSpec
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.denoisers.protocol import Port, Recompute
from harmony_parts.denoisers.settings import (
    build_denoiser,
    compile_knob,
    layers_knob,
    ports_knob,
    recompute_knob,
)
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import AssemblyError
from harmony_parts.plugin import default_part, knob


@attrs.frozen
class VideoOnly:
    """Settings of a video-only denoiser."""

    layers: int = layers_knob()
    video: VideoBranchSpec = knob(
        default_part("harmony_parts.branches.video_transformer:VideoTransformer"),
        help="the video branch",
    )
    ports: dict[str, Port] = ports_knob()
    recompute: Recompute = recompute_knob()
    compile: bool = compile_knob()

    def build(
        self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> BranchDenoiser:
        """The denoiser. Raises AssemblyError unless there is one codec, of its stream."""
        return _build(self, AV(video=self.video), codecs, encoders)


@attrs.frozen
class AudioOnly:
    """Settings of an audio-only denoiser."""

    layers: int = layers_knob()
    audio: AudioBranchSpec = knob(
        default_part("harmony_parts.branches.mmdit:MMDiT"), help="the audio branch"
    )
    ports: dict[str, Port] = ports_knob()
    recompute: Recompute = recompute_knob()
    compile: bool = compile_knob()

    def build(
        self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> BranchDenoiser:
        """The denoiser. Raises AssemblyError unless there is one codec, of its stream."""
        return _build(self, AV(audio=self.audio), codecs, encoders)


def _build(
    spec: VideoOnly | AudioOnly,
    branch: AV[BranchSpec],
    codecs: AV[VideoCodec | AudioCodec],
    encoders: Mapping[str, Encoder],
) -> BranchDenoiser:
    if set(codecs) != set(branch):
        (wanted,) = branch
        raise AssemblyError(
            f"it has only a branch for {wanted}, and the codecs are for"
            f" {' and '.join(codecs) or 'nothing'}"
        )
    return build_denoiser(
        branch,
        spec.layers,
        None,
        codecs=codecs,
        encoders=encoders,
        ports=spec.ports,
        recompute=spec.recompute,
        compile=spec.compile,
    )
