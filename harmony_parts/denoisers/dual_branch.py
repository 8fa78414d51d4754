"""The denoiser of Harmony: two branches of the same depth in lockstep, each layer with an
interaction (paper, figure 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.protocol import AudioBranchSpec, VideoBranchSpec
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.branch_denoiser import (
    BranchDenoiser,
    build_denoiser,
    compile_knob,
    layers_knob,
    ports_knob,
    recompute_knob,
)
from harmony_parts.denoisers.protocol import Port, Recompute
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import AssemblyError
from harmony_parts.interaction.protocol import InteractionSpec
from harmony_parts.plugin import default_part, knob


@attrs.frozen
class DualBranch:
    """Settings of the denoiser."""

    layers: int = layers_knob()
    video: VideoBranchSpec = knob(attrs.Factory(VideoTransformer), help="The video branch.")
    audio: AudioBranchSpec = knob(attrs.Factory(MMDiT), help="The audio branch.")
    interaction: InteractionSpec = knob(
        default_part("harmony_parts.interaction.gldi:GLDI"),
        help="How the branches hear each other, in every layer.",
    )
    driven_interaction: Literal["two_way", "one_way"] = knob(
        "two_way",
        help=(
            "Whether a clean stream hears the noisy one. `one_way` makes it independent of the"
            " step, so it can be computed once."
        ),
        source="paper: two_way",
        validator=attrs.validators.in_(("two_way", "one_way")),
    )
    ports: dict[str, Port] = ports_knob()
    recompute: Recompute = recompute_knob()
    compile: bool = compile_knob()

    def build(
        self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> BranchDenoiser:
        """The denoiser, with channels from the codecs and widths from the encoders. Raises
        AssemblyError for a condition without a port.
        """
        if absent := [stream for stream in STREAMS if stream not in tuple(codecs)]:
            raise AssemblyError(
                "it has two branches, so it needs codecs of both streams; add"
                f" $.codecs.{absent[0]}, or use `{_alone(absent[0])}`"
            )
        return build_denoiser(
            AV(self.video, self.audio),
            self.layers,
            self.interaction,
            codecs=codecs,
            encoders=encoders,
            ports=self.ports,
            one_way=self.driven_interaction == "one_way",
            recompute=self.recompute,
            compile=self.compile,
        )


def _alone(absent: str) -> str:
    return "audio-only" if absent == "video" else "video-only"
