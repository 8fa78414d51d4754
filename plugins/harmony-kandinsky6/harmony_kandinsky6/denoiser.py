"""Kandinsky 6's transformer as a denoiser, through diffusers' Kandinsky6Transformer3DModel."""

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
from harmony_kandinsky6.inputs import JOINT, known_image, masked_mean, ports, tail
from harmony_kandinsky6.two_times import take_two_times
from harmony_parts.av import AV, STREAMS, Condition, Conditions, Times
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.known_latents import lead
from harmony_parts.denoisers.protocol import Port
from harmony_parts.encoders.protocol import Encoder

SCALE = 1000  # its timestep of pure noise


@attrs.frozen
class Kandinsky6:
    """The frozen transformer of Kandinsky 6: latents of both streams -> velocities n - x.

    Each stream has a time of its own, 0 is data and 1 is noise; diffusers' model has one timestep,
    1000 times the time, but an embedding of it for each stream, and each gets its stream's. It was
    trained at equal times only: times that differ, as in driven tasks and in SyncCFG, and a time of
    exactly 0, are new to it. All latents of a stream have one time: the highest of theirs. A known
    image is a frame after the last one, as in its training; the first latent stays noisy, and its
    velocity leads to the image. No hints: both streams read the same text, so none can be alone. By
    diffusers' defaults it has 48.2 G parameters, 96 GB in bfloat16; what is released may be
    smaller. Source: diffusers' Kandinsky6TI2VAPipeline. The weights' licence is on their card: read
    it before use.
    """

    model: str = model_knob("")
    subfolder: str = subfolder_knob("transformer", "transformer")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.Kandinsky6Transformer3DModel")
    precision: Precision = precision_knob("bfloat16")

    def build(
        self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> Kandinsky6Denoiser:
        """The denoiser.

        Raises ValueError if the weights can't be loaded, AssemblyError if codecs or encoders don't
        match them.
        """
        return Kandinsky6Denoiser(self, codecs, encoders)


class Kandinsky6Denoiser(FrozenModule):
    """The denoiser of `Kandinsky6`; its `state_dict()` is empty, since the weights are external."""

    accepts: Mapping[str, Port]
    hints: frozenset[str] = frozenset()
    blocks: Sequence[torch.nn.Module] = ()  # its weights are external modules

    def __init__(
        self, spec: Kandinsky6, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> None:
        from diffusers import Kandinsky6Transformer3DModel

        super().__init__()
        model = diffusers_model(
            Kandinsky6Transformer3DModel,
            saved_form(Kandinsky6Transformer3DModel, spec.model, spec.subfolder),
            spec.config,
            spec.precision,
            spec.model,
            spec.subfolder,
            spec.revision,
        )
        self.accepts = ports(model.config, codecs, encoders)
        take_two_times(model)
        self.frozen = Frozen(model)

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

        Both streams are always computed. Samples with a known image and samples without one are
        computed apart.
        """
        JOINT.check(av, conditions, hints, accepts=self.accepts, supports=self.hints)
        known = conditions["image"] if "image" in self.accepts else None
        shown = known_image(known, len(av["video"]))
        made = av.map(torch.empty_like)
        for image in sorted(set(shown)):
            rows = torch.tensor([n for n, has in enumerate(shown) if has == image])
            of_rows = rows.to(av["video"].device)
            part = self._velocities(
                av.map(lambda x: x[of_rows]),  # noqa: B023
                times.map(lambda t: t.per_latent().amax(1)[of_rows]),  # noqa: B023
                {name: condition.rows(of_rows) for name, condition in conditions.items()},
                known.rows(of_rows).tokens[:, :1] if image and known is not None else None,
            )
            for stream in made:
                made[stream][of_rows] = part[stream].to(made[stream].dtype)
        if known is not None and any(shown):
            made = made.replace(video=lead(made["video"], av["video"], times["video"], known))
        return made.only(read)

    def _velocities(
        self,
        av: AV[Tensor],
        times: AV[Tensor],
        conditions: Mapping[str, Condition],
        image: Tensor | None,
    ) -> AV[Tensor]:
        """Velocities at one time [B] for each stream, of samples with an image or without one."""
        text, pooled = conditions["caption"], conditions["pooled"]
        mask = None if text.mask.is_meta or bool(text.mask.all()) else text.mask
        model, dtype = self.frozen.models[0], self.frozen.dtype
        frames = av["video"].shape[1]
        video, audio = model(
            audio_hidden_states=av["audio"].to(dtype),
            encoder_hidden_states=text.tokens.to(dtype),
            pooled_projections=masked_mean(pooled).to(dtype),
            timestep=torch.stack([times["video"], times["audio"]]) * SCALE,
            encoder_attention_mask=mask,
            return_dict=False,
            **tail(model.config, av["video"].to(dtype), image),
        )
        return AV(video[:, :frames], audio)
