"""MiniMax-H3's transformer as a denoiser, through diffusers' MiniMaxH3Transformer3DModel."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_diffusers.frozen import (
    Frozen,
    FrozenModule,
    Precision,
    config_knob,
    diffusers_model,
    model_knob,
    precision_knob,
    revision_knob,
    saved_form,
    subfolder_knob,
)
from harmony_diffusers.joint import Joint
from harmony_minimax_h3.audio import SIDES
from harmony_minimax_h3.sequence import PER_SECOND, layout, packed, row_times, unpacked
from harmony_minimax_h3.video import begin
from harmony_parts.av import AV, STREAMS, Condition, Conditions, Times
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec, grid_of
from harmony_parts.denoisers.known_latents import lead, paste
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port
from harmony_parts.encoders.protocol import Encoder

FPS = 24
JOINT = Joint(
    "MiniMax-H3",
    ports={"caption": Port("video", "context"), "image": KNOWN_LATENTS},
    texts={"caption": "the text's tokens"},
    encoder="minimax-h3-text",
)
"""Its needs. Both streams read the text, and each other."""


@attrs.frozen
class MiniMaxH3:
    """The frozen transformer of MiniMax-H3: latents at times of their own -> velocities n - x.

    Text, both sides of the sound and video are one sequence without a mask. Each latent has its
    time, 0 is data and 1 is noise; the model's own timestep is 1 minus that, and its velocity the
    opposite of ours. The text has the time of the noisiest latent of video. The weights are
    guidance-distilled: they need no guidance by text, and there is none in diffusers' pipeline. A
    clean sound of its own place was in their training only as a reference before the generated one;
    a clean video only at time 0.001, and an image as a keyframe beside the first latent, where here
    it is the first latent at time 0. Positions are those of 24 frames and 40 latents of sound a
    second. Samples are computed one by one. No hints: the streams can't be separated. With
    diffusers' defaults it has 33.1 G parameters, 66 GB in bfloat16; what is released may have
    another size. Source: diffusers' MiniMaxH3ModularPipeline. The weights' licence is on their
    card: read it before use.
    """

    model: str = model_knob("")
    subfolder: str = subfolder_knob("transformer", "transformer")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.MiniMaxH3Transformer3DModel")
    precision: Precision = precision_knob("bfloat16")

    def build(
        self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> MiniMaxH3Denoiser:
        """The denoiser.

        Raises ValueError if the weights can't be loaded, AssemblyError if codecs or encoders don't
        match them.
        """
        return MiniMaxH3Denoiser(self, codecs, encoders)


class MiniMaxH3Denoiser(FrozenModule):
    """The denoiser of `MiniMaxH3`; its `state_dict()` is empty, since the weights are external."""

    accepts: Mapping[str, Port]
    hints: frozenset[str] = frozenset()
    blocks: Sequence[torch.nn.Module] = ()  # its weights are external modules

    def __init__(
        self, spec: MiniMaxH3, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> None:
        from diffusers import MiniMaxH3Transformer3DModel

        super().__init__()
        model = diffusers_model(
            MiniMaxH3Transformer3DModel,
            saved_form(MiniMaxH3Transformer3DModel, spec.model, spec.subfolder),
            spec.config,
            spec.precision,
            spec.model,
            spec.subfolder,
            spec.revision,
        )
        self.accepts = _accepts(model.config, codecs, encoders)
        self.frozen = Frozen(model)
        self._patch: tuple[int, int, int] = tuple(model.config.patch_size)

    def forward(
        self,
        av: AV[Tensor],
        times: AV[Times],
        conditions: Conditions,
        *,
        hints: Collection[str] = (),
        read: Collection[str] = STREAMS,
        cache: MutableMapping[str, Any] | None = None,
    ) -> AV[Tensor]:
        """Noisy latents -> velocities of the streams in `read`, in the latents' type.

        Both streams are always computed.
        """
        JOINT.check(av, conditions, hints, accepts=self.accepts, supports=self.hints)
        known: Condition | None = conditions["image"] if "image" in self.accepts else None
        noisy, at = av, times
        if known is not None:
            latents, clean = paste(av["video"], times["video"], known)
            av, at = av.replace(video=latents), times.replace(video=clean)
        text = conditions["caption"]
        rows = [
            self._velocities(
                av.map(lambda x: x[n]),  # noqa: B023
                at,
                n,
                text.tokens[n] if text.mask.is_meta else text.tokens[n][text.mask[n]],
            )
            for n in range(len(av["video"]))
        ]
        made = AV(**{s: torch.stack([row[s] for row in rows]).to(av[s].dtype) for s in STREAMS})
        if known is not None:
            made = made.replace(video=lead(made["video"], noisy["video"], times["video"], known))
        return made.only(read)

    def _velocities(self, av: AV[Tensor], times: AV[Times], n: int, text: Tensor) -> AV[Tensor]:
        """Velocities of sample n: latents [T, h, w, C] and [T, C], tokens [L, width]."""
        frames, high, wide = av["video"].shape[:3]
        _, p, q = self._patch
        video, audio = self.frozen.models[0](
            **packed(av, self._patch),
            encoder_hidden_states=text[None],
            **row_times(times, n, (high // p) * (wide // q), len(text)),
            **layout(
                len(text), (frames, high, wide), len(av["audio"]), self._patch, av["video"].device
            ),
            return_dict=False,
        )
        return unpacked(-video, -audio, av, self._patch)


def _accepts(
    config: Any, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
) -> dict[str, Port]:
    """The port of each condition. Raises AssemblyError with all mismatches."""
    return JOINT.accepts(
        AV(config.in_channels, SIDES * config.audio_in_channels),
        {"caption": config.text_dim, "image": config.in_channels},
        codecs,
        encoders,
        [*_faults_of_form(config, codecs), *_faults_of_clocks(codecs)],
    )


def _faults_of_form(config: Any, codecs: AV[VideoCodec | AudioCodec]) -> list[str]:
    frames, *patch = config.patch_size
    if frames != 1:
        return [f"patches of {frames} latents in time are not supported, only of one"]
    if codecs.video is None:
        return []
    grid = grid_of(codecs.video)
    if any(n % p for n, p in zip(grid, patch, strict=True)):
        return [
            f"a picture has {' x '.join(map(str, grid))} latents, but the model's patches are of"
            f" {' x '.join(map(str, patch))}: set format.height and format.width to multiples of"
            " both"
        ]
    return []


def _faults_of_clocks(codecs: AV[VideoCodec | AudioCodec]) -> list[str]:
    """Codecs whose latents aren't where the model's positions are."""
    wanted = AV(
        [begin(k) / FPS for k in range(7)],
        [k / PER_SECOND for k in range(7)],
    )
    rates = AV(f"{FPS} frames (format.fps)", f"{PER_SECOND} latents of sound")
    with torch.device("cpu"):
        return [
            f"its positions are those of {rates[s]} per second, but the {s} codec's latents begin"
            f" at other times"
            for s in tuple(codecs)
            if not torch.allclose(
                codecs[s].clock(7)[:, 0], torch.tensor(wanted[s], dtype=torch.float64), atol=1e-6
            )
        ]
