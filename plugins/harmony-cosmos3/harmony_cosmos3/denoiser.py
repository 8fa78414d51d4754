"""Cosmos3-Omni's transformer as a denoiser, through diffusers' Cosmos3OmniTransformer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from fractions import Fraction
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_cosmos3.sequence import Packed, packed
from harmony_diffusers.frozen import (
    Frozen,
    FrozenModule,
    Precision,
    config_knob,
    diffusers_model,
    model_knob,
    on_meta,
    precision_knob,
    revision_knob,
    saved_form,
    subfolder_knob,
)
from harmony_diffusers.joint import Joint
from harmony_parts.av import AV, STREAMS, Condition, Conditions, Times
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.known_latents import lead, paste
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port
from harmony_parts.encoders.protocol import Encoder

SCALE = 1000  # its timestep of pure noise
FULL: dict[str, Any] = {"sound_gen": True, "sound_dim": 64}
"""The configuration with sound beside diffusers' defaults, to count without weights."""
JOINT = Joint(
    "Cosmos3-Omni",
    ports={"caption": Port("video", "context"), "image": KNOWN_LATENTS},
    texts={"caption": "the numbers of the text's tokens"},
    encoder="cosmos3-text",
)
"""Its needs. Both streams read the text, and each other."""


@attrs.frozen
class Cosmos3:
    """The frozen transformer of Cosmos3-Omni: latents at times of their own -> velocities n - x.

    Text, video and sound are one sequence: the text is causal, the latents read all. Each latent
    has its time, 0 is data and 1 is noise; its timestep is 1000 times the time. A latent at time 0
    is clean: it gets no time at all, as the frames of an image or of a video in diffusers'
    pipeline, and its velocity is 0. A clean sound beside a noisy video, and a clean video beside a
    noisy sound, are put together in the same way, but aren't in that pipeline. Positions in time
    are seconds times 6, from the codecs' rates. Samples are computed one by one. No hints: the
    streams can't be separated. With diffusers' defaults it has 15.2 G parameters, 30 GB in
    bfloat16; what is released may have another size. Source: diffusers' Cosmos3OmniPipeline. The
    weights' licence is on their card: read it before use.
    """

    model: str = model_knob("")
    subfolder: str = subfolder_knob("transformer", "transformer")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.Cosmos3OmniTransformer")
    precision: Precision = precision_knob("bfloat16")

    def build(
        self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> Cosmos3Denoiser:
        """The denoiser.

        Raises ValueError if the weights can't be loaded, AssemblyError if codecs or encoders don't
        match them.
        """
        return Cosmos3Denoiser(self, codecs, encoders)


class Cosmos3Denoiser(FrozenModule):
    """The denoiser of `Cosmos3`; its `state_dict()` is empty, since the weights are external."""

    accepts: Mapping[str, Port]
    hints: frozenset[str] = frozenset()
    blocks: Sequence[torch.nn.Module] = ()  # its weights are external modules

    def __init__(
        self, spec: Cosmos3, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> None:
        from diffusers import Cosmos3OmniTransformer

        super().__init__()
        model = diffusers_model(
            Cosmos3OmniTransformer,
            saved_form(Cosmos3OmniTransformer, spec.model, spec.subfolder) or FULL,
            spec.config,
            spec.precision,
            spec.model,
            spec.subfolder,
            spec.revision,
        )
        self.accepts = _accepts(model.config, codecs, encoders)
        if on_meta():
            model.rotary_emb = AnglesWithoutValues(model.config.head_dim)
        self.frozen = Frozen(model)
        self._rates = codecs.map(_rate)

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
        rows = [
            self._velocities(
                av.map(lambda x: x[n]),  # noqa: B023
                at.map(lambda t: t.per_latent()[n]),  # noqa: B023
                self._ids(conditions["caption"], n),
            )
            for n in range(len(av["video"]))
        ]
        made = AV(**{s: torch.stack([row[s] for row in rows]).to(av[s].dtype) for s in STREAMS})
        if known is not None:
            made = made.replace(video=lead(made["video"], noisy["video"], times["video"], known))
        return made.only(read)

    def _ids(self, text: Condition, n: int) -> Tensor:
        """The numbers of the tokens of sample n, int64 [L]; on the meta device, all of them."""
        tokens = text.tokens[n, :, 0]
        valid = tokens if text.mask.is_meta else tokens[text.mask[n]]
        return valid.round().long().clamp(0, self.frozen.models[0].config.vocab_size - 1)

    def _velocities(self, av: AV[Tensor], times: AV[Tensor], ids: Tensor) -> AV[Tensor]:
        """Velocities of one sample: latents [T, h, w, C] and [T, C], times [T] each."""
        model, dtype = self.frozen.models[0], self.frozen.dtype
        sequence: Packed = packed(model.config, av, times, len(ids), self._rates)
        video, sound, _ = model(
            input_ids=ids,
            text_indexes=torch.arange(len(ids), device=ids.device),
            und_len=len(ids),
            position_ids=sequence.positions,
            sequence_length=sequence.positions.shape[1],
            vision_tokens=[av["video"].permute(3, 0, 1, 2)[None].to(dtype)],
            sound_tokens=[av["audio"].T.to(dtype)],
            return_dict=False,
            **sequence.video.arguments("vision", times["video"] * SCALE),
            **sequence.audio.arguments("sound", times["audio"] * SCALE),
        )
        return AV(video[0][0].permute(1, 2, 3, 0), sound[0].T)


class AnglesWithoutValues(torch.nn.Module):
    """The shape of the angles: diffusers' module switches autocast off, which meta has none of."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(
        self, position_ids: Tensor, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Cosines and sines [1, length, width]."""
        angles = torch.empty(1, position_ids.shape[-1], self.width, device=device, dtype=dtype)
        return angles, angles


def _rate(codec: VideoCodec | AudioCodec) -> float:
    """Latents per second, of all but a first one of another length; exact for exact clocks."""
    with torch.device("cpu"):
        start, end = codec.clock(3)[2].tolist()
    return float(1 / Fraction(end - start).limit_denominator(10**6))


def _accepts(
    config: Any, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
) -> dict[str, Port]:
    """The port of each condition. Raises AssemblyError with all mismatches."""
    faults = []
    if not config.sound_gen:
        faults.append("these weights have no sound (sound_gen): choose others")
    elif codecs.audio is not None and abs(_rate(codecs.audio) - config.sound_latent_fps) > 1e-6:
        faults.append(
            f"it has {config.sound_latent_fps:g} latents of sound per second, the codec"
            f" {_rate(codecs.audio):g}"
        )
    return JOINT.accepts(
        AV(config.latent_channel, config.sound_dim or 0),
        {"caption": 1, "image": config.latent_channel},
        codecs,
        encoders,
        faults,
    )
