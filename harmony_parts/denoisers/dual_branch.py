"""Harmony's denoiser: two branches of equal depth, an interaction in every layer (figure 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import attrs

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import AudioBranchSpec, VideoBranchSpec
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
from harmony_parts.interaction.protocol import InteractionSpec
from harmony_parts.plugin import default_part, knob

DrivenInteraction = Literal["two_way", "one_way", "one_way_detached"]


@attrs.frozen
class DualBranch:
    """Settings of the two-branch denoiser."""

    layers: int = layers_knob()
    video: VideoBranchSpec = knob(
        default_part("harmony_parts.branches.video_transformer:VideoTransformer"),
        help="the video branch",
    )
    audio: AudioBranchSpec = knob(
        default_part("harmony_parts.branches.mmdit:MMDiT"), help="the audio branch"
    )
    interaction: InteractionSpec = knob(
        default_part("harmony_parts.interaction.gldi:GLDI"),
        help="how the branches exchange information in every layer",
    )
    driven_interaction: DrivenInteraction = knob(
        "two_way",
        help=(
            "whether a clean stream reads the noisy one. `one_way` makes it independent of the"
            " step, so it can be computed once. `one_way_detached`: the noisy stream's loss doesn't"
            " train the clean one's branch either, which makes its backward pass unnecessary"
        ),
        source="paper: two_way",
        validator=attrs.validators.in_(get_args(DrivenInteraction)),
    )
    ports: dict[str, Port] = ports_knob()
    recompute: Recompute = recompute_knob()
    compile: bool = compile_knob()

    def build(
        self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> BranchDenoiser:
        """The denoiser, with channels from the codecs and widths from the encoders.

        Raises AssemblyError if a codec is missing or a condition has no port.
        """
        if absent := [stream for stream in STREAMS if stream not in tuple(codecs)]:
            raise AssemblyError(
                "it has two branches, so it needs codecs of both streams; add"
                f" $.codecs.{absent[0]}, or use `{_single_branch(absent[0])}`"
            )
        return build_denoiser(
            AV(self.video, self.audio),
            self.layers,
            self.interaction,
            codecs=codecs,
            encoders=encoders,
            ports=self.ports,
            one_way=self.driven_interaction != "two_way",
            detach_clean=self.driven_interaction == "one_way_detached",
            recompute=self.recompute,
            compile=self.compile,
        )


def _single_branch(absent: str) -> str:
    return "audio-only" if absent == "video" else "video-only"
